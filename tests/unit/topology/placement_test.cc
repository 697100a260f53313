// SPDX-License-Identifier: Apache-2.0
#include "trainer/topology/placement.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

namespace stint::topology {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Optional;

std::vector<std::string> ordered(const std::vector<NodePlace>& places) {
  std::vector<std::string> names;
  for (const std::size_t node : order_nodes(places).nodes) names.push_back(places[node].name);
  return names;
}

NodePlace at(const std::string& switches, const std::string& name) {
  std::string pattern;
  for (const char c : switches)
    if (c == '.') pattern += "switch.";
  return {name, switches + "." + name, pattern + "switch.node"};
}

TEST(SwitchesOf, ReadsTheTreeFromTheTop) {
  EXPECT_THAT(switches_of({"node1", "spine.leaf1.node1", "switch.switch.node"}),
              Optional(ElementsAre("spine", "leaf1")));
  EXPECT_THAT(switches_of({"node1", "spine.leaf1.node1", ""}), Optional(ElementsAre("spine", "leaf1")));
  EXPECT_THAT(switches_of({"node1", "node1", "node"}), Optional(ElementsAre()));
}

TEST(SwitchesOf, ABlockIsOneToo) {
  EXPECT_THAT(switches_of({"tux1", "b8.tux1", "block.node"}), Optional(ElementsAre("b8")));
}

TEST(SwitchesOf, ANodesNameMayHaveDots) {
  EXPECT_THAT(switches_of({"n1.example.org", "s0.s1.n1.example.org", "switch.switch.node"}),
              Optional(ElementsAre("s0", "s1")));
}

TEST(SwitchesOf, MissingShortAndMalformedAddressesAreNotKnown) {
  for (const auto& [address, pattern] :
       std::vector<std::pair<std::string, std::string>>{{"", ""},
                                                        {"", "switch.node"},
                                                        {"leaf1.node1", "switch.switch.node"},
                                                        {".leaf1.node1", "switch.switch.node"},
                                                        {"spine..node1", ""},
                                                        {"spine.leaf1.", "switch.switch.node"},
                                                        {"spine.leaf1.node1", "switch.switch."},
                                                        {"spine.leaf1", "switch.switch"}})
    EXPECT_EQ(switches_of({"node1", address, pattern}), std::nullopt) << address << " as " << pattern;
}

TEST(NaturalLess, ComparesDigitsAsNumbersOfAnyLength) {
  const std::vector<std::string> sorted{"",
                                        "a",
                                        "a0",
                                        "a00",
                                        "a01",
                                        "a1",
                                        "a2",
                                        "a2b1",
                                        "a2b10",
                                        "a10",
                                        "a99999999999999999999998",
                                        "a99999999999999999999999",
                                        "ab",
                                        "b"};
  for (std::size_t i = 0; i < sorted.size(); ++i)
    for (std::size_t j = 0; j < sorted.size(); ++j)
      EXPECT_EQ(natural_less(sorted[i], sorted[j]), i < j) << sorted[i] << " < " << sorted[j];
}

TEST(Placement, KeepsTheNodesOfASwitchTogetherInNaturalOrder) {
  const std::vector<NodePlace> places{at("spine.leaf2", "node10"), at("spine.leaf1", "node11"),
                                      at("spine.leaf2", "node2"), at("spine.leaf10", "node1"),
                                      at("spine.leaf1", "node3")};
  EXPECT_THAT(ordered(places), ElementsAre("node3", "node11", "node2", "node10", "node1"));
  EXPECT_EQ(order_nodes(places).note, "");
}

TEST(Placement, DoesNotDependOnTheOrderOfItsInput) {
  std::vector<NodePlace> places{
      at("a.l1", "n1"), at("a.l2", "n2"), at("b.l1", "n3"), at("b.l3", "n4"), {"n5", "", ""}};
  const auto expected = ordered(places);
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    std::ranges::shuffle(places, random);
    EXPECT_EQ(ordered(places), expected);
  }
}

TEST(Placement, LeavesOfTheSameNameUnderDifferentSpinesAreDifferent) {
  const std::vector<NodePlace> places{at("a.leaf", "n1"), at("b.leaf", "n2"), at("a.leaf", "n3")};
  EXPECT_THAT(ordered(places), ElementsAre("n1", "n3", "n2"));
  EXPECT_EQ(leaf_crossings(places, order_nodes(places).nodes), 2U);
}

TEST(Placement, WithoutAnyAddressTheOrderIsByNameAndItSaysSo) {
  const std::vector<NodePlace> places{{"n10", "", ""}, {"n9", "", ""}};
  EXPECT_THAT(ordered(places), ElementsAre("n9", "n10"));
  EXPECT_EQ(
      order_nodes(places).note,
      "place of n9, n10 not known: SLURM_TOPOLOGY_ADDR is missing or malformed; the ring is in name order");
}

TEST(Placement, NodesOfUnknownPlaceComeLastAndAreNamed) {
  const std::vector<NodePlace> places{{"n1", "", ""},
                                      at("s.l2", "n2"),
                                      at("s.l1", "n3"),
                                      {"n4", "..", ""},
                                      {"n5", "l.n5", "switch.switch.node"},
                                      {"n6", "", ""}};
  EXPECT_THAT(ordered(places), ElementsAre("n3", "n2", "n1", "n4", "n5", "n6"));
  EXPECT_EQ(order_nodes(places).note,
            "place of n1, n4, n5 and 1 more not known: SLURM_TOPOLOGY_ADDR is missing or malformed; "
            "they come last, in name order");
}

TEST(Placement, AClusterWithoutSwitchesIsOrderedByNameAndItSaysSo) {
  const std::vector<NodePlace> places{{"n2", "n2", "node"}, {"n1", "n1", "node"}};
  EXPECT_THAT(ordered(places), ElementsAre("n1", "n2"));
  EXPECT_THAT(order_nodes(places).note, HasSubstr("topology/none"));
}

TEST(Placement, NodesThatHangOnASpineItselfKeepEverySwitchTogether) {
  const std::vector<NodePlace> places{at("s.l1", "n1"), at("s", "n2"), at("s.l2", "n3"), at("s.l1", "n4"),
                                      at("s", "n5")};
  EXPECT_THAT(ordered(places), ElementsAre("n2", "n5", "n1", "n4", "n3"));
  EXPECT_EQ(leaf_crossings(places, order_nodes(places).nodes), 3U);
}

TEST(Placement, NoneAndOneNodeWork) {
  EXPECT_THAT(ordered({}), ElementsAre());
  EXPECT_EQ(leaf_crossings({}, {}), 0U);
  EXPECT_THAT(ordered({at("s.l", "n")}), ElementsAre("n"));
  EXPECT_EQ(order_nodes(std::vector<NodePlace>{{"n", "n", "node"}}).note, "");
}

// Ring edges whose ends lie under different switches of a level, or at different ones of any level.
std::size_t crossings_at(const std::vector<NodePlace>& places, const std::vector<std::size_t>& order,
                         std::size_t level) {
  const auto prefix = [&](std::size_t p) {
    auto path = *switches_of(places[order[p % order.size()]]);
    path.resize(std::min(path.size(), level + 1));
    return path;
  };
  std::size_t crossings = 0;
  for (std::size_t p = 0; p < order.size(); ++p) crossings += prefix(p) != prefix(p + 1) ? 1 : 0;
  return crossings;
}

std::vector<NodePlace> random_tree(std::mt19937& random) {
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution(low, high)(random); };
  const int depth = pick(1, 3), fan = pick(1, 3), nodes = pick(2, 7);
  std::vector<NodePlace> places;
  for (int n = 0; n < nodes; ++n) {
    std::string switches = "top";
    for (int level = 1; level < depth; ++level) switches += fmt::format(".s{}", pick(1, fan));
    places.push_back(at(switches, fmt::format("n{}", pick(0, 1000) * 10 + n)));
  }
  return places;
}

TEST(Placement, CrossesTheFewestSwitchesOfEveryLevelOfAllOrders) {
  std::mt19937 random(20230704);
  for (int round = 0; round < 60; ++round) {
    const auto places = random_tree(random);
    const auto ours = order_nodes(places).nodes;
    std::set<std::vector<std::string>> leaves;
    for (const NodePlace& place : places) leaves.insert(*switches_of(place));
    EXPECT_EQ(leaf_crossings(places, ours), leaves.size() < 2 ? 0 : leaves.size());
    std::vector<std::size_t> order(places.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    do {
      ASSERT_LE(leaf_crossings(places, ours), leaf_crossings(places, order));
      for (std::size_t level = 0; level < 3; ++level)
        ASSERT_LE(crossings_at(places, ours, level), crossings_at(places, order, level));
    } while (std::next_permutation(order.begin() + 1, order.end()));  // a ring: the first may stay
  }
}

TEST(Placement, EightNodesOnFourLeavesCrossFourTimesAndNoOrderDoesBetter) {
  std::vector<NodePlace> places;
  for (int n = 0; n < 8; ++n) places.push_back(at(fmt::format("spine.leaf{}", n % 4), fmt::format("n{}", n)));
  EXPECT_EQ(leaf_crossings(places, order_nodes(places).nodes), 4U);
  std::vector<std::size_t> order(8);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::size_t fewest = 8;
  do fewest = std::min(fewest, leaf_crossings(places, order));
  while (std::next_permutation(order.begin() + 1, order.end()));
  EXPECT_EQ(fewest, 4U);
}

}  // namespace
}  // namespace stint::topology
