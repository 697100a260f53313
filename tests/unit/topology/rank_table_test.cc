// SPDX-License-Identifier: Apache-2.0
#include "trainer/topology/rank_table.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace stint::topology {
namespace {

using Nodes = std::vector<std::size_t>;
using Workers = std::vector<int>;

TEST(RankTable, CountsNodesInRingOrderAndTheirWorkersWithin) {
  const RankTable table(Nodes{2, 0, 1}, Workers{1, 3, 2});
  const std::vector<Seat> expected{{2, 0}, {2, 1}, {0, 0}, {1, 0}, {1, 1}, {1, 2}};
  ASSERT_EQ(table.size(), 6);
  for (int rank = 0; rank < 6; ++rank) {
    EXPECT_EQ(table.seat_of(rank), expected[static_cast<std::size_t>(rank)]);
    EXPECT_EQ(table.rank_of(table.seat_of(rank)), rank);
  }
}

TEST(RankTable, RefusesAnOrderThatIsNoPermutationAndNodesWithoutWorkers) {
  EXPECT_THROW(RankTable(Nodes{0}, Workers{1, 1}), Error);
  EXPECT_THROW(RankTable(Nodes{0, 0}, Workers{1, 1}), Error);
  EXPECT_THROW(RankTable(Nodes{0, 2}, Workers{1, 1}), Error);
  EXPECT_THROW(RankTable(Nodes{0, 1}, Workers{1, 0}), Error);
}

TEST(RankTable, RefusesRanksAndSeatsThatItDoesNotHave) {
  const RankTable table(Nodes{0}, Workers{2});
  EXPECT_THROW(table.seat_of(-1), Error);
  EXPECT_THROW(table.seat_of(2), Error);
  EXPECT_THROW(table.rank_of({1, 0}), Error);
  EXPECT_THROW(table.rank_of({0, 2}), Error);
  EXPECT_THROW(table.rank_of({0, -1}), Error);
}

}  // namespace
}  // namespace stint::topology
