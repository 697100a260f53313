// SPDX-License-Identifier: Apache-2.0
#include "reservations/usage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <random>

#include "tests/unit/reservations/scratch.h"

namespace stint::reservations {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr sys_seconds kStart{seconds{1'795'392'000}};  // 2026-11-23T00:00:00Z

std::vector<std::int64_t> parts(const NodeSeconds& sum) {
  return {sum.used, sum.idle, sum.lost};
}

constexpr Window kMinute{kStart, kStart + seconds{60}};
const std::vector<std::string> kNodes{"a", "b", "c"};  // two and a spare

TEST(NodeSeconds, OnlyThePromisedNodesCount) {
  EXPECT_THAT(parts(node_seconds(kMinute, 2, kNodes, {}, {})), testing::ElementsAre(0, 120, 0));
  EXPECT_THAT(parts(node_seconds(kMinute, 2, kNodes, {}, {{kStart, kNodes}})),
              testing::ElementsAre(120, 0, 0));
  EXPECT_THAT(parts(node_seconds(kMinute, 2, kNodes, {}, {{kStart, {"a", "elsewhere"}}, {kStart, {"a"}}})),
              testing::ElementsAre(60, 60, 0));
}

TEST(NodeSeconds, ASpareMakesUpForALostNode) {
  EXPECT_THAT(parts(node_seconds(kMinute, 2, kNodes, {"c"}, {})), testing::ElementsAre(0, 120, 0));
  EXPECT_THAT(parts(node_seconds(kMinute, 2, kNodes, {"c", "a", "elsewhere"}, {})),
              testing::ElementsAre(0, 60, 60));
  EXPECT_THAT(parts(node_seconds(kMinute, 2, kNodes, kNodes, {{kStart, {"a"}}})),
              testing::ElementsAre(60, 0, 60));
}

TEST(NodeSeconds, AJobCountsFromItsStart) {
  EXPECT_THAT(parts(node_seconds(kMinute, 2, kNodes, {}, {{kStart + seconds{40}, {"a", "b"}}})),
              testing::ElementsAre(40, 80, 0));
  EXPECT_THAT(parts(node_seconds(kMinute, 2, kNodes, {}, {{kStart + seconds{90}, {"a", "b"}}})),
              testing::ElementsAre(0, 120, 0));
}

TEST(NodeSeconds, RandomCasesAreWhatTheyAreSecondBySecond) {
  std::mt19937 dice(7);
  const auto up_to = [&](int most) { return std::uniform_int_distribution<int>(0, most)(dice); };
  const auto some = [&] {
    std::vector<std::string> names;
    for (const auto* name : {"a", "b", "c", "d", "x"}) {
      if (up_to(1) == 0) names.emplace_back(name);
    }
    return names;
  };
  const auto has = [](const std::vector<std::string>& names, const std::string& name) {
    return std::count(names.begin(), names.end(), name) > 0;
  };
  for (int round = 0; round < 500; ++round) {
    const auto nodes = some();
    const auto lost = some();
    const int promised = up_to(4);
    std::vector<Hold> holds;
    for (int i = up_to(3); i > 0; --i) holds.push_back({kStart + seconds{up_to(100) - 20}, some()});
    NodeSeconds model;
    for (auto time = kMinute.start; time < kMinute.end; time += seconds{1}) {
      int used = 0;
      int sound = 0;
      for (const auto& node : nodes) {
        bool busy = false;
        for (const auto& hold : holds) busy = busy || (hold.from <= time && has(hold.nodes, node));
        used += busy ? 1 : 0;
        sound += has(lost, node) ? 0 : 1;
      }
      used = std::min(used, promised);
      const int gone = std::min(std::max(0, promised - sound), promised - used);
      model += {used, promised - used - gone, gone};
    }
    ASSERT_EQ(parts(node_seconds(kMinute, promised, nodes, lost, holds)), parts(model)) << "round " << round;
  }
}

class UsageMeterTest : public testing::Test {
 protected:
  UsageMeterTest() : ledger_(scratch_.file("ledger.db")) {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
    for (const auto& name : kNodes) {
      ClusterNode node;
      node.name = name;
      nodes_.push_back(node);
    }
    add_plan("demo", kStart, kStart + hours{2});
  }

  Plan& add_plan(const std::string& name, sys_seconds start, sys_seconds end) {
    Plan plan;
    plan.name = name;
    plan.nodes = 2;
    plan.segments.push_back({name + ".0", start, end, kNodes});
    plan.id = ledger_.add_plan(plan);
    plan.phase = Phase::kBooked;
    plans_.push_back(plan);
    return plans_.back();
  }
  void run_job(const std::string& reservation, sys_seconds start, const std::vector<std::string>& nodes) {
    ClusterJob job;
    job.reservation = reservation;
    job.state = JobState::kRunning;
    job.started = start;
    job.nodes = nodes;
    jobs_.push_back(job);
  }
  // A look each two seconds.
  void measure_until(sys_seconds end) {
    for (; now_ <= end; now_ += seconds{2}) meter_.measure(plans_, jobs_, nodes_, now_);
    now_ = end;
  }
  std::vector<std::int64_t> total() {
    NodeSeconds sum;
    for (const auto& row : ledger_.usage(plans_.front().id)) sum += row.spent;
    return parts(sum);
  }

  Scratch scratch_;
  Ledger ledger_;
  UsageMeter meter_{ledger_};
  std::vector<Plan> plans_;
  std::vector<ClusterJob> jobs_;
  std::vector<ClusterNode> nodes_;
  sys_seconds now_ = kStart - seconds{10};
};

TEST_F(UsageMeterTest, RoundsAddUpToTheSegmentAndNoMore) {
  measure_until(kStart + seconds{100});
  EXPECT_THAT(total(), testing::ElementsAre(0, 200, 0));
  run_job("demo.0", kStart + seconds{99}, {"a", "b"});
  run_job("other.0", kStart, {"c"});
  measure_until(kStart + seconds{200});
  EXPECT_THAT(total(), testing::ElementsAre(200, 200, 0));
  nodes_[0].down = nodes_[1].down = true;
  jobs_.clear();
  measure_until(kStart + seconds{300});
  EXPECT_THAT(total(), testing::ElementsAre(200, 300, 100));
  measure_until(kStart + hours{3});
  EXPECT_EQ(total()[0] + total()[1] + total()[2], 2 * 7'200);
}

TEST_F(UsageMeterTest, AMeterThatWasAwayFillsTheGapFromTheJobsStart) {
  measure_until(kStart + seconds{100});
  run_job("demo.0", kStart + seconds{1'100}, {"a", "b"});
  nodes_[2].down = nodes_[1].down = true;  // since when is not known
  UsageMeter other(ledger_);
  other.measure(plans_, jobs_, nodes_, kStart + seconds{2'100});
  EXPECT_THAT(total(), testing::ElementsAre(2'000, 2'200, 0));
  jobs_.clear();
  UsageMeter third(ledger_);
  third.measure(plans_, jobs_, nodes_, kStart + seconds{3'100});
  EXPECT_THAT(total(), testing::ElementsAre(2'000, 2'200 + 2 * 970 + 30, 30));
}

TEST_F(UsageMeterTest, KilledAtAnyTimeNothingIsCountedTwice) {
  run_job("demo.0", kStart, {"a"});
  for (int i = 1; i <= 50; ++i) {
    UsageMeter fresh(ledger_);
    fresh.measure(plans_, jobs_, nodes_, kStart + seconds{i * 7});
  }
  EXPECT_THAT(total(), testing::ElementsAre(350, 350, 0));
}

TEST_F(UsageMeterTest, EveryLocalDayHasItsRow) {
  plans_.clear();
  add_plan("long", kStart - hours{1}, kStart + hours{25});
  UsageMeter fresh(ledger_);
  fresh.measure(plans_, jobs_, nodes_, kStart + hours{30});
  const auto rows = ledger_.usage(plans_.front().id);
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[0].spent.idle, 2 * 3'600);
  EXPECT_EQ(rows[1].day, kStart);
  EXPECT_EQ(rows[1].spent.idle, 2 * 86'400);
  EXPECT_EQ(rows[2].spent.idle, 2 * 3'600);
  EXPECT_EQ(rows[2].until, kStart + hours{25});
}

TEST_F(UsageMeterTest, CancelledPlansAreNotMeasured) {
  plans_.front().phase = Phase::kCancelled;
  measure_until(kStart + seconds{100});
  EXPECT_THAT(total(), testing::ElementsAre(0, 0, 0));
}

TEST_F(UsageMeterTest, AJobThatRolledOverHeldItsNodesUntilThen) {
  plans_.front().segments.push_back({"demo.1", kStart + hours{2}, kStart + hours{4}, kNodes});
  run_job("demo.1", kStart, {"a", "b"});
  UsageMeter fresh(ledger_);
  fresh.measure(plans_, jobs_, nodes_, kStart + hours{3});
  EXPECT_THAT(total(), testing::ElementsAre(2 * 3 * 3'600, 0, 0));
}

}  // namespace
}  // namespace stint::reservations
