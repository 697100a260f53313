// SPDX-License-Identifier: Apache-2.0
#include "trainer/topology/measured.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <random>
#include <set>

namespace stint::topology {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Cluster {
  std::vector<NodePlace> named;    // as measured: names alone
  std::vector<NodePlace> on_tree;  // as it is
  RoundTrips times;
};

// 20 us on a leaf, 30 below a spine, 50 above, plus noise; nodes are dealt to the leaves in turn.
Cluster cluster(std::size_t nodes, std::size_t leaves, std::size_t spines, double noise, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> extra(0, noise);
  Cluster made;
  for (std::size_t n = 0; n < nodes; ++n) {
    const std::size_t leaf = n % leaves;
    const std::string name = fmt::format("n{}", n);
    made.named.push_back({name, "", ""});
    made.on_tree.push_back(
        {name, fmt::format("s{}.l{}.{}", leaf % spines, leaf, name), "switch.switch.node"});
  }
  made.times.assign(nodes, std::vector<double>(nodes, 0));
  for (std::size_t a = 0; a < nodes; ++a)
    for (std::size_t b = 0; b < nodes; ++b) {
      const bool same_leaf = a % leaves == b % leaves,
                 same_spine = a % leaves % spines == b % leaves % spines;
      if (a != b) made.times[a][b] = (same_leaf ? 20 : same_spine ? 30 : 50) + extra(random);
    }
  return made;
}

std::size_t crossings(const Cluster& made, const std::vector<NodePlace>& ordered_by) {
  return leaf_crossings(made.on_tree, order_nodes(ordered_by).nodes);
}

TEST(Measured, FindsTheTreeThatIsThere) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    const Cluster made = cluster(16, 4, 2, 4, seed);
    const Measured found = group_by_distance(made.named, made.times);
    EXPECT_THAT(found.note, HasSubstr("show 4 groups"));
    EXPECT_EQ(crossings(made, found.places), 4U);
    EXPECT_EQ(crossings(made, made.named), 16U);
    std::set<std::string> spines;
    for (const NodePlace& place : found.places) spines.insert(switches_of(place)->at(0));
    EXPECT_EQ(spines.size(), 2U);
  }
}

TEST(Measured, SaysSoWhenAllNodesAreEquallyFar) {
  const Cluster made = cluster(12, 1, 1, 3, 1);
  const Measured found = group_by_distance(made.named, made.times);
  EXPECT_THAT(found.places, IsEmpty());
  EXPECT_THAT(found.note, HasSubstr("show no groups"));
}

TEST(Measured, NoiseMakesFewGroups) {
  int found = 0;
  for (unsigned seed = 0; seed < 200; ++seed) {
    const Cluster made = cluster(8, 1, 1, 15, seed);
    found += group_by_distance(made.named, made.times).places.empty() ? 0 : 1;
  }
  EXPECT_LE(found, 2);
}

TEST(Measured, WorksWithLostMessagesAndWithoutAny) {
  Cluster made = cluster(8, 2, 1, 2, 3);
  made.times[0][2] = 0;  // the other direction tells
  EXPECT_EQ(crossings(made, group_by_distance(made.named, made.times).places), 2U);
  for (std::size_t n = 0; n < 8; ++n) made.times[5][n] = made.times[n][5] = 0;
  EXPECT_EQ(group_by_distance(made.named, made.times).places.size(), 8U);
  const RoundTrips nothing(8, std::vector<double>(8, 0));
  EXPECT_THAT(group_by_distance(made.named, nothing).places, IsEmpty());
  EXPECT_THAT(group_by_distance({}, {}).places, IsEmpty());
}

TEST(Measured, AboveSixtyFourNodesMeasuresAgainstLandmarks) {
  Cluster made = cluster(300, 6, 2, 3, 9);
  const auto marks = landmarks(300);
  EXPECT_EQ(marks.size(), 64U);
  EXPECT_EQ(std::set(marks.begin(), marks.end()).size(), 64U);
  const std::set<std::size_t> known(marks.begin(), marks.end());
  for (auto& row : made.times)
    for (std::size_t n = 0; n < 300; ++n)
      if (!known.contains(n)) row[n] = 0;
  EXPECT_EQ(crossings(made, group_by_distance(made.named, made.times).places), 6U);
}

}  // namespace
}  // namespace stint::topology
