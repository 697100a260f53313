// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <filesystem>

#include "tests/unit/reservations/book_fixture.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

TEST_F(BookTest, APlanIsOneReservationAndOneRowOfTheTable) {
  const auto plan = book_->create(request(), kRoot);
  EXPECT_EQ(plan.phase, Phase::kBooked);
  EXPECT_EQ(plan.price.amount(), "1.67");  // spares are free
  EXPECT_EQ(plan.switches, 2);
  ASSERT_TRUE(cluster_.reservations_.contains("demo.0"));
  const auto& reservation = cluster_.reservations_["demo.0"];
  EXPECT_EQ(reservation.nodes.size(), 5U);
  EXPECT_EQ(reservation.end - reservation.start, seconds{600});
  EXPECT_THAT(reservation.users, ElementsAre("root"));
  const auto rows = table();
  ASSERT_EQ(rows.plans.size(), 1U);
  EXPECT_EQ(rows.plans[0].state, "active");
  EXPECT_EQ(rows.plans[0].segments[0].reservation, "demo.0");
  EXPECT_TRUE(rows.plans[0].may_submit(0));
}

// The plan table could not be written any more, nor the plan be cancelled.
TEST_F(BookTest, AUserNameWithANulIsNoUser) {
  auto wanted = request();
  wanted.users = {std::string("root\0x", 6)};
  EXPECT_EQ(refused(wanted).first, 400);
  EXPECT_TRUE(cluster_.reservations_.empty());
  EXPECT_FALSE(ledger_.find_plan("demo"));
}

TEST_F(BookTest, ATableThatWasRemovedOrChangedIsWrittenAgain) {
  book_->create(request(), kRoot);
  const std::string path = scratch_.file("stint_plans.ini");
  std::filesystem::remove(path);
  book_->reconcile();
  EXPECT_EQ(table().plans.size(), 1U);
  write_file_atomically(path, "junk");
  book_->reconcile();
  EXPECT_EQ(table().plans.size(), 1U);
}

TEST_F(BookTest, AQuoteBooksNothing) {
  auto wanted = request();
  wanted.quote = true;
  EXPECT_EQ(book_->create(wanted, kRoot).price.amount(), "1.67");
  EXPECT_TRUE(cluster_.reservations_.empty());
  EXPECT_FALSE(ledger_.find_plan("demo"));
}

TEST_F(BookTest, NodesOfOthersAreNotTaken) {
  cluster_.reservations_["maintenance"] = {"maintenance", now(),    now() + seconds{60},
                                           {"node1"},     {"root"}, "main"};
  cluster_.add_job(5, {"node2"}, "", "").end = now() + seconds{30};
  cluster_.find_node("node3").drained = true;
  const auto plan = book_->create(request("demo", 5, 0), kRoot);
  EXPECT_THAT(plan.segments[0].nodes, ElementsAre("node4", "node5", "node6", "node7", "node8"));
}

TEST_F(BookTest, TooFewNodesAreExplainedWithATimeWhenThereAreEnough) {
  book_->create(request("first", 6, 0), kRoot);
  const auto [status, text] = refused(request("second", 4, 0));
  EXPECT_EQ(status, 409);
  EXPECT_THAT(text, HasSubstr("plan second: wants 4 nodes, 2 of partition main are free until"));
  EXPECT_THAT(text, HasSubstr("enough are free from"));
  EXPECT_EQ(refused(request("third", 9, 0))
                .second.find("plan third: 9 nodes are wanted; partition main has 8 nodes; "
                             "what would work: 8 nodes are free for the whole time from"),
            0U);
}

TEST_F(BookTest, TheReasonIsWhatKeepsTheNodesAway) {
  for (const char* name : {"node1", "node2", "node3", "node4"}) cluster_.find_node(name).features = {"ib"};
  for (const char* name : {"node1", "node2"}) cluster_.find_node(name).drained = true;
  cluster_.find_node("node3").down = true;
  auto wanted = request("demo", 3, 0);
  wanted.features = {"ib"};
  const auto text = refused(wanted).second;
  EXPECT_THAT(text, HasSubstr("plan demo: 3 nodes are wanted; 4 nodes of partition main have feature ib, 1 "
                              "of them is down (node3), "
                              "2 are drained (node[1-2]): 1 is left; "
                              "what would work: without feature ib, so many are free from "));
  EXPECT_THAT(text, HasSubstr("; 1 node is free for the whole time from "));
  wanted.features = {"ib", "a100"};
  EXPECT_THAT(
      refused(wanted).second,
      HasSubstr("no node of partition main has features ib,a100; what would work: without --features, "));
  wanted.features = {};
  for (auto& node : cluster_.nodes_) node.partitions.emplace_back("night");
  cluster_.nodes_.pop_back();
  for (std::size_t i = 4; i < 7; ++i) cluster_.nodes_[i].partitions = {"night"};
  EXPECT_THAT(refused(wanted).second,
              HasSubstr("partition main has 4 nodes, 1 of them is down (node3), 2 are drained"));
}

// Jobs and drained nodes both keep nodes away: that only time is short does not hide the others.
TEST_F(BookTest, DrainedNodesAreToldOfWhereTimeIsShortToo) {
  cluster_.add_job(5, {"node4", "node5"}, "", "").end = now() + seconds{300};
  cluster_.find_node("node1").drained = true;
  EXPECT_THAT(refused(request("demo", 6, 0)).second,
              AllOf(HasSubstr("wants 6 nodes, 5 of partition main are free until "),
                    HasSubstr("; partition main has 8 nodes, 1 of them is drained (node1): 7 are left; "
                              "enough are free from ")));
}

TEST_F(BookTest, BadRequestsLeaveNothing) {
  auto wanted = request();
  wanted.partition = "lunch";
  EXPECT_THAT(refused(wanted).second, HasSubstr("there is no partition 'lunch'; there are main, night"));
  wanted = request();
  wanted.users = {"root", "no-such-user-here"};
  EXPECT_THAT(refused(wanted).second, HasSubstr("there is no user 'no-such-user-here'"));
  wanted = request();
  wanted.start = now() - seconds{3'600};
  EXPECT_THAT(refused(wanted).second, HasSubstr("lies in the past"));
  wanted.start = now() + std::chrono::days{400};
  EXPECT_EQ(refused(wanted).first, 403);
  EXPECT_TRUE(cluster_.reservations_.empty());
  EXPECT_TRUE(book_->list().empty());
}

TEST_F(BookTest, PolicyDecidesWhoBooksAndHowMuch) {
  constexpr std::uint32_t kGames = 5;
  EXPECT_EQ(refused(request(), kGames).first, 403);
  settings_.policy.book.users = {"games"};
  settings_.policy.max_nodes = 4;
  restart_stintd();
  EXPECT_THAT(refused(request(), kGames).second, HasSubstr("at most 4 are allowed"));
  settings_.policy.max_nodes = 0;
  settings_.policy.max_duration = seconds{60};
  restart_stintd();
  EXPECT_THAT(refused(request(), kGames).second, HasSubstr("[policy] max_duration"));
  settings_.policy.max_duration = {};
  restart_stintd();
  auto for_others = request();
  for_others.users = {"root"};
  EXPECT_THAT(refused(for_others, kGames).second, HasSubstr("only an operator books for others"));
}

TEST_F(BookTest, ANameIsFreeAgainOnceItsPlanIsOver) {
  book_->create(request("demo", 2, 0), kRoot);
  EXPECT_THAT(refused(request("demo", 2, 0)).second, HasSubstr("exists already (active)"));
  cluster_.now += 601;
  cluster_.reservations_.clear();
  EXPECT_EQ(refused(request("demo", 2, 0)).first, 200);
  EXPECT_EQ(table().plans.size(), 1U);
  EXPECT_EQ(book_->list().size(), 2U);
}

TEST_F(BookTest, WhatSlurmRefusesIsNotInTheLedger) {
  cluster_.reservations_["demo.0"] = {"demo.0", now() - seconds{50}, now() - seconds{10}, {"node1"}, {"root"},
                                      "main"};
  EXPECT_THAT(refused(request()).second, HasSubstr("Slurm refuses the reservation"));
  EXPECT_TRUE(book_->list().empty());
  EXPECT_TRUE(cluster_.reservations_.contains("demo.0"));  // not ours: left alone
}

TEST_F(BookTest, CancelGivesTheNodesBackAndSaysSoInTheTable) {
  book_->create(request(), kRoot);
  EXPECT_EQ(cancel_status("demo", kStranger, false), 403);
  EXPECT_EQ(cancel_status("demo", kRoot, false), 200);
  EXPECT_TRUE(cluster_.reservations_.empty());
  EXPECT_EQ(table().plans[0].state, "cancelled");
  EXPECT_EQ(cancel_status("demo", kRoot, false), 409);
  EXPECT_EQ(cancel_status("other", kRoot, false), 404);
}

TEST_F(BookTest, JobsInAPlanKeepItFromBeingCancelledUnlessForced) {
  book_->create(request(), kRoot);
  cluster_.add_job(5, {"node1"}, "demo.0");
  EXPECT_EQ(cancel_status("demo", kRoot, false), 409);
  EXPECT_EQ(book_->show("demo").phase, Phase::kBooked);
  EXPECT_EQ(table().plans[0].state, "active");
  EXPECT_EQ(cancel_status("demo", kRoot, true), 200);
  EXPECT_EQ(cluster_.jobs_[5].state, JobState::kFinished);
  EXPECT_TRUE(cluster_.reservations_.empty());
}

TEST_F(BookTest, AForcedCancelThatWaitsForAJobIsFinishedLater) {
  book_->create(request(), kRoot);
  cluster_.add_job(5, {"node1"}, "demo.0");
  cluster_.cancels_work = false;
  EXPECT_THROW(book_->cancel("demo", kRoot, true), ClusterError);
  EXPECT_EQ(table().plans[0].state, "cancelled");  // no new job gets in meanwhile
  cluster_.jobs_[5].state = JobState::kFinished;
  restart_stintd();
  book_->reconcile();
  EXPECT_TRUE(cluster_.reservations_.empty());
  EXPECT_EQ(book_->show("demo").phase, Phase::kCancelled);
}

TEST_F(BookTest, KilledBeforeTheReservationTheBookingIsUndone) {
  cluster_.away = false;
  Plan plan;
  plan.name = "demo";
  plan.owner = "root";
  plan.users = {"root"};
  plan.uids = {0};
  plan.kind.partition = "main";
  plan.nodes = 1;
  plan.created = now();
  plan.segments.push_back({"demo.0", now(), now() + seconds{600}, {"node1"}});
  ledger_.add_plan(plan);
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").phase, Phase::kFailed);
  EXPECT_THAT(book_->show("demo").reason, HasSubstr("book it again"));
  // The create was on its way all the same:
  cluster_.reservations_["demo.0"] = {"demo.0", now(), now() + seconds{600}, {"node1"}, {"root"}, "main"};
  book_->reconcile();
  EXPECT_TRUE(cluster_.reservations_.empty());
}

TEST_F(BookTest, KilledAfterTheReservationTheBookingIsCompleted) {
  cluster_.after_create = [] { throw std::runtime_error("killed"); };
  EXPECT_THROW(book_->create(request(), kRoot), std::runtime_error);
  cluster_.after_create = nullptr;
  EXPECT_EQ(book_->show("demo").phase, Phase::kBooking);
  restart_stintd();
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").phase, Phase::kBooked);
  EXPECT_EQ(table().plans.size(), 1U);
}

TEST_F(BookTest, AnUnansweredCreateIsSettledLater) {
  cluster_.after_create = [] { throw ClusterError(ClusterError::Code::kUnreachable, "no answer"); };
  EXPECT_THAT(refused(request()),
              Pair(503, HasSubstr("whether it is booked is settled when slurmctld answers")));
  cluster_.after_create = nullptr;
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").phase, Phase::kBooked);
}

// Files cannot grow while it lives, as on a disk that is full.
class FullDisk {
 public:
  FullDisk() : handler_(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit none{1, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &none);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  void (*handler_)(int);
  rlimit before_{};
};

TEST_F(BookTest, ABookingThatTheLedgerCannotTakeAnyMoreSaysSoAndIsCompletedLater) {
  std::unique_ptr<FullDisk> full;
  cluster_.after_create = [&] { full = std::make_unique<FullDisk>(); };
  const auto said = refused(request());
  full.reset();
  EXPECT_THAT(said,
              Pair(503, HasSubstr("Slurm has it reserved, and so has stintd as soon as the ledger can be")));
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").phase, Phase::kBooked);
}

TEST_F(BookTest, ABookingThatTheLedgerCannotTakeAtAllLeavesNothing) {
  {
    const FullDisk full;
    EXPECT_THROW(book_->create(request(), kRoot), Error);
  }
  book_->reconcile();
  EXPECT_TRUE(cluster_.reservations_.empty());
  EXPECT_EQ(refused(request()).first, 200);
}

TEST_F(BookTest, ItsHistorySaysWhoDidWhat) {
  book_->create(request("demo", 3, 0), kRoot);
  cluster_.set_node_down("node2", "stint: slurmd does not answer (job 7)");
  book_->reconcile();
  cluster_.reservations_["demo.0"].end += seconds{300};
  book_->reconcile();
  book_->cancel("demo", kRoot, false);
  std::vector<std::string> told;
  for (const auto& entry : book_->history("demo")) told.push_back(entry.who + ": " + entry.action);
  EXPECT_THAT(told, ElementsAre("root: booked", "stintd: node swapped", "stintd: reservation changed",
                                "root: cancelling", "stintd: cancelled"));
  EXPECT_THAT(book_->history("demo")[1].detail, "node2 is replaced by node4");
  EXPECT_THROW(book_->history("other"), Refusal);
}

TEST_F(BookTest, OneOwnerHasOnlySoManyLivePlansAtATime) {
  settings_.policy.book.everyone = true;
  settings_.policy.max_plans = 2;
  restart_stintd();
  constexpr std::uint32_t kDaemon = 1;
  EXPECT_EQ(refused(request("one", 1, 0), kDaemon).first, 200);
  EXPECT_EQ(refused(request("two", 1, 0), kDaemon).first, 200);
  const auto [status, text] = refused(request("three", 1, 0), kDaemon);
  EXPECT_EQ(status, 403);
  EXPECT_EQ(text,
            "plan three: daemon has 2 plans, at most 2 are allowed at a time ([policy] max_plans); cancel "
            "one first");
  book_->cancel("one", kDaemon, false);
  EXPECT_EQ(refused(request("three", 1, 0), kDaemon).first, 200);
  EXPECT_EQ(refused(request("four", 1, 0), kRoot).first, 200) << "an operator's";
}

}  // namespace
}  // namespace stint::reservations
