// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/reservations/book_fixture.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

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

}  // namespace
}  // namespace stint::reservations
