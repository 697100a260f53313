// SPDX-License-Identifier: Apache-2.0
#include "reservations/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <random>

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr sys_seconds at(std::int64_t second) {
  return sys_seconds{seconds{second}};
}
constexpr Window window(std::int64_t start, std::int64_t end) {
  return {at(start), at(end)};
}

// Leaf sizes per spine switch: {{2, 4}, {4}} is spine0 with two leaves and spine1 with one.
std::vector<PlannerNode> tree(const std::vector<std::vector<int>>& spines) {
  std::vector<PlannerNode> nodes;
  for (std::size_t s = 0; s < spines.size(); ++s) {
    for (std::size_t l = 0; l < spines[s].size(); ++l) {
      for (int i = 0; i < spines[s][l]; ++i) {
        const std::string spine = "spine" + std::to_string(s);
        nodes.push_back(
            {"n" + std::to_string(nodes.size()), {"core", spine, spine + "leaf" + std::to_string(l)}});
      }
    }
  }
  return nodes;
}

TEST(Planner, FullNodeSetIsBusyUntilSpanEnds) {
  Planner planner(tree({{4}}));
  planner.add_span({"n0", "n1", "n2", "n3"}, window(100, 200));
  EXPECT_THAT(planner.available_during(window(150, 160)), IsEmpty());
  EXPECT_THAT(planner.available_during(window(200, 300)), SizeIs(4));
  EXPECT_THAT(planner.available_during(window(50, 100)), SizeIs(4));
  EXPECT_THAT(planner.available_during(window(50, 101)), IsEmpty());
}

TEST(Planner, FreeTimesAreWholeMinutesBetweenTheSpans) {
  Planner planner(tree({{2}}));
  planner.add_span({"n0", "unknown"}, window(1'090, 1'330));  // 1.5 to 5.5 minutes after the origin
  planner.add_span({"n0"}, window(1'300, 1'360));
  planner.add_span({"n0"}, window(0, 1'001));
  planner.add_span({"n1"}, window(400, 1'000));
  EXPECT_THAT(planner.free_times(at(1'000), 10), ElementsAre(MinuteSpan{6, 10}, MinuteSpan{0, 10}));
}

TEST(Planner, OneLeafSwitchIsTakenWhereOneIsEnough) {
  const Planner planner(tree({{2, 3}, {4}}));
  EXPECT_THAT(planner.choose(3, window(0, 1)), ElementsAre("n2", "n3", "n4"));  // the tightest fit
  EXPECT_THAT(planner.choose(4, window(0, 1)), ElementsAre("n5", "n6", "n7", "n8"));
  EXPECT_THAT(planner.choose(5, window(0, 1)), ElementsAre("n0", "n1", "n2", "n3", "n4"));  // below one spine
  EXPECT_THAT(planner.choose(10, window(0, 1)), IsEmpty());
  EXPECT_THAT(planner.choose(0, window(0, 1)), IsEmpty());
}

TEST(Planner, NodesWithoutTopologyHangOnOneSwitch) {
  const Planner planner({{"a", {}}, {"b", {}}, {"c", {}}});
  EXPECT_THAT(planner.choose(2, window(0, 1)), ElementsAre("a", "b"));
  EXPECT_EQ(planner.leaf_switches({"a", "b", "c"}), 1U);
}

TEST(Planner, NearestIsOnTheSameLeafThenBelowTheSameSpine) {
  Planner planner(tree({{2, 2}, {2}}));
  EXPECT_THAT(planner.nearest({"n0"}, 1, window(0, 1)), ElementsAre("n1"));
  planner.add_span({"n1"}, window(0, 10));
  EXPECT_THAT(planner.nearest({"n0"}, 1, window(0, 1)), ElementsAre("n2"));
  planner.add_span({"n2", "n3"}, window(0, 10));
  EXPECT_THAT(planner.nearest({"n0"}, 1, window(0, 1)), ElementsAre("n4"));
  planner.add_span({"n4", "n5"}, window(0, 10));
  EXPECT_THAT(planner.nearest({"n0"}, 1, window(0, 1)), IsEmpty());
}

// Fewest leaf switches over every subset of the free nodes.
std::size_t fewest_leaves(const Planner& planner, const std::vector<std::string>& free, std::size_t count) {
  std::size_t best = free.size() + 1;
  for (unsigned subset = 0; subset < (1U << free.size()); ++subset) {
    if (static_cast<std::size_t>(std::popcount(subset)) != count) continue;
    std::vector<std::string> names;
    for (std::size_t i = 0; i < free.size(); ++i) {
      if ((subset >> i) & 1U) names.push_back(free[i]);
    }
    best = std::min(best, planner.leaf_switches(names));
  }
  return best;
}

TEST(Planner, ChoiceIsFreeAndCrossesAsFewLeafSwitchesAsAnyOther) {
  std::mt19937 random(20'261'123);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int round = 0; round < 150; ++round) {
    std::vector<std::vector<int>> spines(1 + static_cast<std::size_t>(below(3)));
    int total = 0;
    for (auto& leaves : spines) {
      for (int l = 1 + below(3); l > 0; --l) {
        leaves.push_back(std::min(1 + below(4), 10 - total));
        total += leaves.back();
      }
    }
    Planner planner(tree(spines));
    for (int s = below(4); s > 0; --s) {
      std::vector<std::string> nodes;
      for (int i = below(3); i > 0; --i) nodes.push_back("n" + std::to_string(below(10)));
      const int start = below(20);
      planner.add_span(nodes, window(start, start + 1 + below(10)));
    }
    const int start = below(20);
    const Window when = window(start, start + 1 + below(10));
    const auto free = planner.available_during(when);
    const auto count = static_cast<std::size_t>(1 + below(8));
    const auto chosen = planner.choose(count, when);
    if (free.size() < count) {
      EXPECT_THAT(chosen, IsEmpty());
      continue;
    }
    EXPECT_THAT(chosen, SizeIs(count));
    EXPECT_THAT(free, testing::IsSupersetOf(chosen));
    EXPECT_EQ(planner.fewest_switches(count, when), planner.leaf_switches(chosen));
    EXPECT_EQ(planner.leaf_switches(chosen), fewest_leaves(planner, free, count)) << "round " << round;
  }
}

}  // namespace
}  // namespace stint::reservations
