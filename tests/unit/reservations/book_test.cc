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
using std::chrono::sys_seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;

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

TEST_F(BookTest, ReservationsOfOthersAreNeverRemoved) {
  cluster_.reservations_["theirs.0"] = {"theirs.0", now(), now() + seconds{60}, {"node1"}, {"root"}, "main"};
  book_->reconcile();
  EXPECT_TRUE(cluster_.reservations_.contains("theirs.0"));
}

TEST_F(BookTest, AReservationThatVanishedIsMadeAgainOnOtherNodesWhereItsOwnWereTaken) {
  book_->create(request("demo", 4, 0), kRoot);
  const auto nodes = cluster_.reservations_["demo.0"].nodes;
  cluster_.reservations_.clear();
  cluster_.reservations_["other"] = {"other", now(), now() + seconds{60}, {nodes[0]}, {"root"}, "main"};
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").phase, Phase::kBooked);
  EXPECT_EQ(book_->show("demo").segments[0].nodes, cluster_.reservations_["demo.0"].nodes);
  EXPECT_THAT(book_->show("demo").segments[0].nodes, testing::Not(testing::Contains(nodes[0])));
  EXPECT_THAT(book_->history("demo").back().detail, HasSubstr("its nodes were taken"));
}

TEST_F(BookTest, AReservationThatVanishedIsMadeAgainOrThePlanFails) {
  book_->create(request("demo", 4, 0), kRoot);
  const auto nodes = cluster_.reservations_["demo.0"].nodes;
  cluster_.reservations_.clear();
  cluster_.now += 5;
  book_->reconcile();
  EXPECT_EQ(cluster_.reservations_["demo.0"].nodes, nodes);
  cluster_.reservations_.clear();
  cluster_.reservations_["other"] = {
      "other", now(), now() + seconds{900}, {"node1", "node2", "node3", "node4", "node5"}, {"root"}, "main"};
  book_->reconcile();
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").phase, Phase::kBooked);
  EXPECT_EQ(book_->history("demo").back().action, "reservation missing");
  EXPECT_EQ(book_->history("demo").size(), 3U);
  cluster_.now += 301;
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").phase, Phase::kFailed);
  EXPECT_THAT(book_->show("demo").reason, HasSubstr("cannot be made again"));
  EXPECT_EQ(table().plans[0].state, "failed");
}

TEST_F(BookTest, WhatKeepsAReservationFromBeingMadeAgainMayPass) {
  auto wanted = request("demo", 4, 0);
  wanted.start = now() + seconds{3'600};
  book_->create(wanted, kRoot);
  cluster_.reservations_.clear();
  cluster_.reservations_["other"] = {
      "other",  now(), now() + seconds{7'200}, {"node1", "node2", "node3", "node4", "node5"},
      {"root"}, "main"};
  for (int i = 0; i < 7; ++i) {
    book_->reconcile();
    cluster_.now += 500;
  }
  EXPECT_EQ(book_->show("demo").phase, Phase::kBooked);
  cluster_.reservations_.clear();
  book_->reconcile();
  EXPECT_TRUE(cluster_.reservations_.contains("demo.0"));
  EXPECT_EQ(book_->history("demo").back().action, "reservation back");
}

TEST_F(BookTest, APlanBeganWhenItBeganThoughItsReservationIsMadeAgain) {
  book_->create(request(), kRoot);
  const auto began = now();
  cluster_.reservations_.clear();
  cluster_.now += 100;
  book_->reconcile();
  EXPECT_EQ(cluster_.reservations_.at("demo.0").start, now());
  EXPECT_EQ(book_->show("demo").segments[0].start, began);
  cluster_.reservations_.at("demo.0").end += seconds{300};
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").segments[0].start, began);
  EXPECT_EQ(book_->show("demo").segments[0].end, began + seconds{900});
}

// A plan that was made shorter just now; what slurmctld had of it before.
class ForgottenTest : public BookTest {
 protected:
  ForgottenTest() {
    book_->create(request(), kRoot);
    cluster_.now += 5;
    before_ = cluster_.reservations_.at("demo.0");
    ShrinkRequest shorter;
    shorter.until = until_ = now() + seconds{100};
    book_->shrink("demo", shorter, kRoot);
  }

  ClusterReservation before_;
  std::chrono::sys_seconds until_;
};

TEST_F(ForgottenTest, AChangeThatACrashedControllerForgotIsMadeAgain) {
  cluster_.reservations_.at("demo.0") = before_;
  cluster_.now += 20;
  cluster_.booted = now();
  cluster_.now += 3;
  book_->reconcile();
  EXPECT_EQ(cluster_.reservations_.at("demo.0").end, until_);
  EXPECT_EQ(book_->show("demo").segments[0].end, until_);
  EXPECT_EQ(book_->history("demo").back().action, "reservation put back");
  // An edit after that is an admin's.
  cluster_.now += 5;
  cluster_.reservations_.at("demo.0").end = before_.end;
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").segments[0].end, before_.end);
}

TEST_F(ForgottenTest, UsersAndTimesThatACrashedControllerForgotAreMadeAgainTogether) {
  cluster_.reservations_.at("demo.0") = before_;
  cluster_.reservations_.at("demo.0").users = {"daemon"};
  cluster_.now += 20;
  cluster_.booted = now();
  cluster_.now += 3;
  book_->reconcile();
  EXPECT_EQ(cluster_.reservations_.at("demo.0").end, until_);
  EXPECT_EQ(cluster_.reservations_.at("demo.0").users, before_.users);
  EXPECT_EQ(book_->history("demo").back().action, "reservation put back");
}

TEST_F(BookTest, AnEditInTheSecondInWhichTheControllerStartedIsAnAdmins) {
  cluster_.booted = now();
  book_->create(request(), kRoot);
  book_->reconcile();
  cluster_.reservations_.at("demo.0").end += seconds{300};
  const auto edited = cluster_.reservations_.at("demo.0").end;
  book_->reconcile();
  EXPECT_EQ(cluster_.reservations_.at("demo.0").end, edited);
  EXPECT_EQ(book_->show("demo").segments[0].end, edited);
  EXPECT_EQ(book_->history("demo").back().action, "reservation changed");
}

TEST_F(ForgottenTest, AControllerThatIsStartedWhileItsReservationsAreReadIsAskedAgain) {
  cluster_.on_call = [&](const std::string& call) {
    if (call != "reservations" || cluster_.booted == now()) return;
    cluster_.reservations_.at("demo.0") = before_;
    cluster_.booted = now();
  };
  book_->reconcile();
  book_->reconcile();
  EXPECT_EQ(cluster_.reservations_.at("demo.0").end, until_);
}

TEST_F(BookTest, UsersOfAReservationThatAnAdminChangedArePutBack) {
  book_->create(request(), kRoot);
  cluster_.reservations_.at("demo.0").users = {"root", "bob"};
  book_->reconcile();
  EXPECT_THAT(cluster_.reservations_.at("demo.0").users, ElementsAre("root"));
  EXPECT_EQ(book_->history("demo").back().action, "users put back");
  book_->reconcile();
  EXPECT_EQ(book_->history("demo").size(), 2U);
}

TEST_F(BookTest, TheLedgerFollowsAnAdminsChangeOfTheReservation) {
  book_->create(request("demo", 2, 0), kRoot);
  cluster_.reservations_["demo.0"].end += seconds{300};
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").segments[0].end, cluster_.reservations_["demo.0"].end);
}

TEST_F(BookTest, ADeadNodeIsSwappedForTheNearestFreeOne) {
  book_->create(request("demo", 3, 0), kRoot);
  ASSERT_THAT(cluster_.reservations_["demo.0"].nodes, ElementsAre("node1", "node2", "node3"));
  cluster_.set_node_down("node2", "stint: slurmd does not answer (job 7)");
  book_->reconcile();
  EXPECT_THAT(cluster_.reservations_["demo.0"].nodes, ElementsAre("node1", "node4", "node3"));
  EXPECT_THAT(book_->show("demo").segments[0].nodes, ElementsAre("node1", "node4", "node3"));
  EXPECT_EQ(table().plans[0].segments[0].nodes, "node[1,3-4]");
}

TEST_F(BookTest, ANodeThatMayOnlyBeRebootingGetsASecondLook) {
  book_->create(request("demo", 3, 0), kRoot);
  cluster_.find_node("node2").down = true;
  book_->reconcile();
  EXPECT_TRUE(FakeCluster::has(cluster_.reservations_["demo.0"].nodes, "node2"));
  book_->reconcile();
  EXPECT_FALSE(FakeCluster::has(cluster_.reservations_["demo.0"].nodes, "node2"));
}

TEST_F(BookTest, WithoutAFreeNodeThePlanKeepsAndShowsItsLoss) {
  book_->create(request("demo", 7, 1), kRoot);
  cluster_.set_node_down("node2", "stint: slurmd does not answer (job 7)");
  book_->reconcile();
  EXPECT_EQ(cluster_.reservations_["demo.0"].nodes.size(), 8U);
  EXPECT_THAT(book_->lost_nodes(), ElementsAre("node2"));
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

// All nodes are free for an hour, then none, then all: two segments are the fastest way to 90 minutes.
class OfferedBookTest : public BookTest {
 protected:
  OfferedBookTest() {
    cluster_.now = 999'960;  // a full minute
    cluster_.reservations_["maintenance"] = {
        "maintenance", now() + seconds{3'600}, now() + seconds{36'000}, all_nodes(), {"root"}, "main"};
    wanted_.query.nodes = 3;
    wanted_.query.spares = 1;
    wanted_.query.duration = seconds{5'400};
    wanted_.query.min_segment = seconds{600};
    wanted_.query.max_segments = 2;
  }
  std::vector<std::string> all_nodes() {
    std::vector<std::string> names;
    for (const auto& node : cluster_.nodes_) names.push_back(node.name);
    return names;
  }
  static PlanRequest by_offer(const std::string& id) {
    PlanRequest wanted;
    wanted.name = "split";
    wanted.offer = id;
    return wanted;
  }
  std::string offer() { return book_->offers().search(wanted_, kRoot).offers.at(0).first; }
  std::string split() { return book_->offers().search(wanted_, kRoot).offers.back().first; }

  OfferRequest wanted_;
};

TEST_F(OfferedBookTest, AnOfferOfTwoSegmentsBecomesTwoReservations) {
  const auto plan = book_->create(by_offer(split()), kRoot);
  ASSERT_EQ(plan.segments.size(), 2U);
  EXPECT_EQ(plan.nodes, 3);
  EXPECT_EQ(plan.price.amount(), "11.25");
  EXPECT_EQ(cluster_.reservations_.at("split.0").end, now() + seconds{3'600});
  EXPECT_EQ(cluster_.reservations_.at("split.1").start, now() + seconds{36'000});
  EXPECT_EQ(cluster_.reservations_.at("split.1").nodes.size(), 4U);
  EXPECT_EQ(table().plans[0].segments.size(), 2U);
  EXPECT_EQ(plan.state_at(now()), PlanState::kActive);
  EXPECT_EQ(plan.state_at(now() + seconds{4'000}), PlanState::kScheduled);
  EXPECT_EQ(plan.state_at(now() + seconds{36'001}), PlanState::kActive);
  EXPECT_EQ(plan.state_at(now() + seconds{40'000}), PlanState::kExpired);
}

TEST_F(OfferedBookTest, TheReservationOfASegmentThatIsOverIsNotMadeAgain) {
  book_->create(by_offer(split()), kRoot);
  cluster_.now += 3'700;
  cluster_.reservations_.erase("split.0");
  book_->reconcile();
  EXPECT_FALSE(cluster_.reservations_.contains("split.0"));
  cluster_.reservations_.erase("split.1");
  book_->reconcile();
  EXPECT_TRUE(cluster_.reservations_.contains("split.1"));
  EXPECT_EQ(book_->show("split").phase, Phase::kBooked);
}

TEST_F(OfferedBookTest, AnOfferThatIsTakenIsRefusedWithWhatThereIsInstead) {
  const auto id = split();
  book_->create(request("first", 6, 0), kRoot);
  try {
    book_->create(by_offer(id), kRoot);
    FAIL() << "was booked";
  } catch (const OfferTaken& taken) {
    EXPECT_EQ(taken.status(), 409);
    EXPECT_THAT(taken.what(), HasSubstr("no longer free; nothing is booked"));
    EXPECT_FALSE(taken.instead().offers.empty());
  }
  EXPECT_FALSE(ledger_.find_plan("split"));
  EXPECT_EQ(cluster_.reservations_.count("split.0"), 0U);
}

TEST_F(OfferedBookTest, OffersLiveForAQuarterOfAnHour) {
  const auto id = offer();
  cluster_.now += 901;
  EXPECT_EQ(refused(by_offer(id)).first, 410);
  EXPECT_THAT(refused(by_offer("onever")).second, HasSubstr("ask again with 'stint plan search'"));
}

TEST_F(OfferedBookTest, AnOfferFromNowOnBeginsWhenItIsBooked) {
  wanted_.query.duration = seconds{1'800};
  const auto id = offer();
  cluster_.now += 300;
  const auto plan = book_->create(by_offer(id), kRoot);
  EXPECT_EQ(plan.segments[0].start, now());
  EXPECT_EQ(plan.segments[0].end, now() + seconds{1'800});
}

TEST_F(OfferedBookTest, AnOfferThatWouldEndTooLateByNowIsRefused) {
  wanted_.query.duration = seconds{1'800};
  wanted_.query.before = now() + seconds{2'000};
  const auto id = offer();
  cluster_.now += 300;
  EXPECT_THAT(refused(by_offer(id)).second, HasSubstr("and all was to be over by"));
  EXPECT_TRUE(cluster_.reservations_.contains("maintenance"));
  EXPECT_FALSE(cluster_.reservations_.contains("split.0"));
  cluster_.now -= 200;
  EXPECT_EQ(book_->create(by_offer(id), kRoot).segments[0].end, now() + seconds{1'800});
}

TEST_F(OfferedBookTest, AnOfferOfTheNextMinuteBeginsAtOnceWhereItsNodesAreFree) {
  cluster_.now += 20;
  wanted_.query.duration = seconds{1'800};
  cluster_.add_job(5, all_nodes(), "", "").end = now() + seconds{10};
  const auto id = offer();
  EXPECT_EQ(book_->create(by_offer(id), kRoot).segments[0].start, now() + seconds{40});  // the full minute
  book_->cancel("split", kRoot, false);
  cluster_.jobs_.clear();
  EXPECT_EQ(book_->create(by_offer(id), kRoot).segments[0].start, now());
}

TEST_F(OfferedBookTest, WhenSlurmRefusesASegmentNoneIsLeft) {
  const auto id = split();
  int made = 0;
  cluster_.after_create = [&] {
    if (++made == 1) cluster_.reservations_["split.1"] = {"split.1", {}, {}, {}, {"root"}, "main"};
  };
  EXPECT_THAT(refused(by_offer(id)).second, HasSubstr("Slurm refuses the reservation"));
  cluster_.after_create = nullptr;
  EXPECT_FALSE(cluster_.reservations_.contains("split.0"));
  EXPECT_FALSE(ledger_.find_plan("split"));
}

TEST_F(OfferedBookTest, KilledBetweenTwoSegmentsTheBookingIsUndone) {
  const auto id = split();
  cluster_.after_create = [] { throw std::runtime_error("killed"); };
  EXPECT_THROW(book_->create(by_offer(id), kRoot), std::runtime_error);
  cluster_.after_create = nullptr;
  EXPECT_TRUE(cluster_.reservations_.contains("split.0"));
  restart_stintd();
  book_->reconcile();
  EXPECT_EQ(book_->show("split").phase, Phase::kFailed);
  EXPECT_FALSE(cluster_.reservations_.contains("split.0"));
}

TEST_F(OfferedBookTest, GpusAreCountedInNodes) {
  for (int i = 0; i < 6; ++i) cluster_.nodes_[static_cast<std::size_t>(i)].gpus = i < 4 ? 8 : 2;
  wanted_.query.nodes = 0;
  wanted_.query.spares = 0;
  wanted_.gpus = 20;
  const auto answer = book_->offers().search(wanted_, kRoot);
  EXPECT_THAT(answer.offers.at(0).second.segments[0].nodes, ElementsAre("node1", "node2", "node3"));
  for (std::size_t i = 0; i < 4; ++i) cluster_.nodes_[i].gpus = 4;
  for (std::size_t i = 4; i < 6; ++i) cluster_.nodes_[i].gpus = 8;
  wanted_.gpus = 20;
  const auto mixed = book_->offers().search(wanted_, kRoot);
  EXPECT_THAT(mixed.offers.at(0).second.segments[0].nodes, SizeIs(5));
  EXPECT_EQ(to_json(mixed)["offers"][0]["gpus_per_node"], 4);
  EXPECT_EQ(to_json(mixed)["offers"][0]["gpus"], 20);
  PlanRequest taken;
  taken.name = "mixed";
  taken.offer = mixed.offers[0].first;
  const auto plan = book_->create(taken, kRoot);
  EXPECT_EQ(plan.nodes, 5);
  EXPECT_EQ(plan.kind.gpus, 4);
  wanted_.gpus = 40;
  EXPECT_THAT(book_->offers().search(wanted_, kRoot).reason,
              HasSubstr("5 nodes are wanted; 2 nodes of partition main have 8 GPUs"));
}

TEST_F(OfferedBookTest, GpusAreToldOfWhereTheClusterHasSome) {
  EXPECT_FALSE(to_json(book_->offers().search(wanted_, kRoot))["offers"][0].contains("gpus"));
  cluster_.find_node("node8").gpus = 8;
  EXPECT_EQ(to_json(book_->offers().search(wanted_, kRoot))["offers"][0]["gpus"], 0);
}

TEST_F(OfferedBookTest, OnlyThePriceIsTheReasonWhereItIs) {
  cluster_.find_node("node1").drained = true;
  wanted_.query.max_cents = 1;
  EXPECT_EQ(book_->offers().search(wanted_, kRoot).reason, "the cheapest offer costs 11.25 EUR");
}

TEST_F(OfferedBookTest, FeaturesAndWaitingJobsCount) {
  wanted_.kind.features = {"infiniband"};
  const auto answer = book_->offers().search(wanted_, kRoot);
  EXPECT_EQ(answer.reason,
            "4 nodes (3 and 1 spare) are wanted; no node of partition main has feature infiniband");
  EXPECT_THAT(answer.remedy, HasSubstr("without feature infiniband, so many are free from "));
  wanted_.kind.features = {};
  cluster_.add_job(9, {}, "", "").state = JobState::kPending;
  EXPECT_THAT(book_->offers().search(wanted_, kRoot).warning,
              HasSubstr("1 job waits in partition main; it may take nodes"));
}

TEST_F(OfferedBookTest, WhatThePartitionWouldKeepFromRunningIsWarnedOf) {
  const auto warning = [&](std::uint32_t uid) { return book_->offers().search(wanted_, uid).warning; };
  settings_.policy.book.everyone = true;
  restart_stintd();
  cluster_.max_nodes = static_cast<std::uint32_t>(wanted_.query.nodes);
  cluster_.groups = {"nobody-is-in-it"};
  EXPECT_EQ(warning(kRoot), "");
  cluster_.max_nodes = 1;
  cluster_.partition_up = false;
  EXPECT_EQ(
      warning(kStranger),
      "partition main is not up: no job starts there now; one job may have 1 node of partition main at most "
      "(MaxNodes); user 3999999999 may not use partition main (AllowGroups=nobody-is-in-it)");
}

TEST_F(OfferedBookTest, PartitionsThatWantMoreNodesOtherAccountsOrShorterJobsAreWarnedOf) {
  settings_.policy.exceed_max_time = false;
  restart_stintd();
  cluster_.members_ = Cluster::Members{};
  cluster_.min_nodes = 5;
  cluster_.max_time = std::chrono::minutes{1};
  cluster_.partition_accounts = {"physics"};
  EXPECT_EQ(book_->offers().search(wanted_, kRoot).warning,
            "a job of partition main has 5 nodes at least (MinNodes); a job of partition main runs for "
            "00:01:00 at a "
            "time (MaxTime), then it is requeued; account root may not use partition main (AllowAccounts, "
            "DenyAccounts)");
}

TEST_F(OfferedBookTest, TheQosThatAPartitionWantsOrRefusesIsSaid) {
  cluster_.denied_qos = {"low"};
  EXPECT_EQ(book_->offers().search(wanted_, kRoot).warning,
            "a job of partition main does not run with --qos=low (DenyQos)");
  cluster_.allowed_qos = {"high", "top"};
  EXPECT_EQ(book_->offers().search(wanted_, kRoot).warning,
            "a job of partition main runs only with --qos=high or top (AllowQos)");
}

TEST_F(OfferedBookTest, PolicyHoldsForSearchesToo) {
  settings_.policy.max_nodes = 2;
  restart_stintd();
  EXPECT_THROW(offer(), Refusal);
  EXPECT_THROW(book_->offers().search(wanted_, kStranger), Refusal);
}

TEST_F(OfferedBookTest, AvailabilityIsStepsOfFreeNodes) {
  const auto availability = book_->offers().availability({}, seconds{36'600});
  EXPECT_EQ(availability.partition, "main");
  EXPECT_EQ(availability.nodes, 8U);
  ASSERT_EQ(availability.steps.size(), 3U);
  EXPECT_EQ(availability.steps[1].from, now() + seconds{3'600});
  EXPECT_EQ(availability.steps[1].free, 0U);
  EXPECT_EQ(availability.steps[2].free, 8U);
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
