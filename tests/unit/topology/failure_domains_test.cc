// SPDX-License-Identifier: Apache-2.0
#include "trainer/topology/failure_domains.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "base/error.h"

namespace stint::topology {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

NodePlace at(const std::string& switches, const std::string& name, const std::string& nvlink = "") {
  std::string pattern = "switch.";
  for (const char c : switches)
    if (c == '.') pattern += "switch.";
  return {name, switches + "." + name, pattern + "node", nvlink};
}

std::vector<NodePlace> random_tree(std::mt19937& random, std::size_t nodes) {
  std::vector<NodePlace> places;
  const unsigned spines = 1 + random() % 3, leaves = 1 + random() % 3;
  for (std::size_t n = 0; n < nodes; ++n) {
    const auto spine = random() % spines;
    places.push_back(
        at(fmt::format("top.s{}.l{}{}", spine, spine, random() % leaves), fmt::format("n{}", n)));
  }
  return places;
}

// Nodes whose buddy is in another domain of that level: the first `level` names of the path differ.
int apart(const std::vector<NodePlace>& places, const std::vector<std::size_t>& buddy, std::ptrdiff_t level) {
  const auto paths = domains_of(places);
  int count = 0;
  for (std::size_t n = 0; n < buddy.size(); ++n)
    count += std::equal(paths[n]->begin(), paths[n]->begin() + level, paths[buddy[n]]->begin()) ? 0 : 1;
  return count;
}

// Every way to pair the nodes, the last three of an odd number in a cycle.
void each_pairing(std::size_t nodes, const std::function<void(const std::vector<std::size_t>&)>& visit) {
  std::vector<std::size_t> buddy(nodes, nodes);
  const std::function<void()> next = [&] {
    const auto free = std::ranges::find(buddy, nodes);
    if (free == buddy.end()) return visit(buddy);
    const auto a = static_cast<std::size_t>(free - buddy.begin());
    for (std::size_t b = a + 1; b < nodes; ++b) {
      if (buddy[b] != nodes) continue;
      buddy[a] = b;
      buddy[b] = a;
      next();
      buddy[a] = buddy[b] = nodes;
    }
  };
  if (nodes % 2 == 0) return next();
  for (std::size_t a = 0; a < nodes; ++a)
    for (std::size_t b = 0; b < nodes; ++b)
      for (std::size_t c = 0; c < nodes; ++c) {
        if (a == b || b == c || a == c || a > std::min(b, c)) continue;
        buddy.assign(nodes, nodes);
        buddy[a] = b;
        buddy[b] = c;
        buddy[c] = a;
        next();
      }
}

TEST(Buddies, NoPairingPutsMoreOfThemApartAtAnyLevel) {
  std::mt19937 random(4);
  for (int trial = 0; trial < 60; ++trial) {
    const auto places = random_tree(random, 2 * (1 + random() % 4));
    const auto ours = buddies(places);
    for (std::size_t n = 0; n < ours.size(); ++n) {
      ASSERT_NE(ours[n], n);
      ASSERT_EQ(ours[ours[n]], n);
    }
    for (std::ptrdiff_t level = 1; level <= 3; ++level) {
      int most = 0;
      each_pairing(places.size(),
                   [&](const auto& buddy) { most = std::max(most, apart(places, buddy, level)); });
      EXPECT_EQ(apart(places, ours, level), most);
    }
  }
}

TEST(Buddies, OfAnOddNumberThreeFormACycleAndNoneOtherPutsMoreApart) {
  std::mt19937 random(5);
  for (int trial = 0; trial < 60; ++trial) {
    const auto places = random_tree(random, 3 + 2 * (random() % 3));
    const auto ours = buddies(places);
    std::set<std::size_t> kept(ours.begin(), ours.end());
    EXPECT_EQ(kept.size(), places.size());
    int most = 0;
    each_pairing(places.size(), [&](const auto& buddy) { most = std::max(most, apart(places, buddy, 3)); });
    EXPECT_EQ(apart(places, ours, 3), most);
  }
}

TEST(Buddies, ASingleNodeIsItsOwn) {
  EXPECT_THAT(buddies(std::vector{at("s", "n1")}), ElementsAre(0));
  EXPECT_TRUE(buddies({}).empty());
}

TEST(Buddies, NodesOfOneRackStandInDifferentNvlinkDomains) {
  std::vector<NodePlace> places;
  for (int rack = 0; rack < 2; ++rack)
    for (int tray = 0; tray < 18; ++tray)
      places.push_back(
          at(fmt::format("block{}", rack), fmt::format("t{}", rack * 18 + tray), fmt::format("{}.0", rack)));
  const auto buddy = buddies(places);
  EXPECT_EQ(exposed(places, buddy), 0U);
  for (std::size_t n = 0; n < 36; ++n) EXPECT_NE(places[n].nvlink_domain, places[buddy[n]].nvlink_domain);
}

TEST(Buddies, OnOneSwitchAllAreExposed) {
  const std::vector places{at("s", "n1"), at("s", "n2"), at("s", "n3")};
  EXPECT_EQ(exposed(places, buddies(places)), 3U);
}

TEST(Domains, AnNvlinkDomainOverSeveralLeavesStandsAboveThem) {
  const std::vector places{at("top.l1", "n1", "a"), at("top.l2", "n2", "a"), at("top.l1", "n3", "b"),
                           at("top.l2", "n4", "b")};
  const auto order = order_nodes(places).nodes;
  EXPECT_EQ(places[order[0]].nvlink_domain, places[order[1]].nvlink_domain);
  const std::vector nested{at("l1", "n1", "b"), at("l1", "n2", "a"), at("l1", "n3", "b"),
                           at("l2", "n4", "c")};
  EXPECT_THAT(order_nodes(nested).nodes, ElementsAre(1, 0, 2, 3));
}

TEST(Spare, IsTheNearestThatDoesNotFailWithTheBuddy) {
  const std::vector places{at("s1.l1", "lost"), at("s2.l3", "buddy"), at("s1.l1", "n3"),
                           at("s1.l2", "n4"),   at("s2.l3", "n5"),    at("s2.l4", "n6")};
  const auto choice = [&](std::vector<std::size_t> spares) { return choose_spare(places, 0, 1, spares); };
  EXPECT_EQ(choice({5, 4, 3, 2}), 2U);
  EXPECT_EQ(choice({5, 4, 3}), 3U);
  EXPECT_EQ(choice({4, 5}), 5U);
  EXPECT_EQ(choice({4}), 4U);
  EXPECT_EQ(choice({}), std::nullopt);
}

TEST(Spare, NoOtherOneIsBetterByTheRule) {
  std::mt19937 random(6);
  for (int trial = 0; trial < 200; ++trial) {
    const auto places = random_tree(random, 8);
    const auto paths = domains_of(places);
    const std::vector<std::size_t> spares{2, 3, 4, 5, 6, 7};
    const auto chosen = *choose_spare(places, 0, 1, spares);
    const auto rank = [&](std::size_t node) {
      const auto near = std::ranges::mismatch(*paths[node], *paths[0]).in1 - paths[node]->begin();
      return std::pair(paths[node] == paths[1], -near);
    };
    for (const std::size_t other : spares) EXPECT_LE(rank(chosen), rank(other));
  }
}

TEST(SetAside, SpreadsTheSparesOverTheLeaves) {
  std::vector<NodePlace> places;
  for (int n = 0; n < 12; ++n) places.push_back(at(n < 8 ? "l1" : "l2", fmt::format("n{}", n)));
  std::map<std::string, int> of_leaf;
  for (const std::size_t node : set_aside(places, 3)) ++of_leaf[*switches_of(places[node])->begin()];
  EXPECT_EQ(of_leaf["l1"], 2);
  EXPECT_EQ(of_leaf["l2"], 1);
  EXPECT_THROW(set_aside(places, 12), Error);
}

TEST(ShardGroups, LieWithinANodeAndReplicasAcross) {
  const std::vector places{at("l1", "n1"), at("l2", "n2")};
  const RankTable ranks(std::vector<std::size_t>{0, 1}, std::vector<int>{4, 4});
  const auto groups = shard_groups(ranks, places, 4);
  EXPECT_THAT(groups.shards, ElementsAre(ElementsAre(0, 1, 2, 3), ElementsAre(4, 5, 6, 7)));
  EXPECT_THAT(groups.replicas,
              ElementsAre(ElementsAre(0, 4), ElementsAre(1, 5), ElementsAre(2, 6), ElementsAre(3, 7)));
  EXPECT_EQ(groups.note, "");
  EXPECT_THAT(shard_groups(ranks, places, 8).note, HasSubstr("1 of 1 shard groups reach beyond"));
  EXPECT_THROW(shard_groups(ranks, places, 3), Error);
}

TEST(ShardGroups, MayFillAnNvlinkDomain) {
  std::vector<NodePlace> places;
  for (int tray = 0; tray < 36; ++tray)
    places.push_back(at("leaf", fmt::format("t{}", tray), tray % 2 == 0 ? "rack1.0" : "rack2.0"));
  const auto order = order_nodes(places).nodes;
  const RankTable ranks(order, std::vector<int>(36, 4));
  EXPECT_EQ(shard_groups(ranks, places, 72).note, "");
  EXPECT_THAT(shard_groups(ranks, places, 144).note, HasSubstr("1 of 1"));
}

}  // namespace
}  // namespace stint::topology
