// SPDX-License-Identifier: Apache-2.0
#include "trainer/topology/rank_table.h"

#include "base/error.h"

namespace stint::topology {

RankTable::RankTable(std::span<const std::size_t> order, std::span<const int> workers)
    : first_rank_(workers.size(), -1), workers_(workers.begin(), workers.end()) {
  if (order.size() != workers.size())
    fail("rank table: {} nodes in the order, {} known", order.size(), workers.size());
  for (const std::size_t node : order) {
    if (node >= workers.size()) fail("rank table: the order names node {} of {}", node, workers.size());
    if (first_rank_[node] >= 0) fail("rank table: the order names node {} twice", node);
    if (workers[node] < 1)
      fail("rank table: node {} has {} workers, at least 1 is needed", node, workers[node]);
    first_rank_[node] = size();
    for (int local = 0; local < workers[node]; ++local) seats_.push_back({node, local});
  }
}

Seat RankTable::seat_of(int rank) const {
  if (rank < 0 || rank >= size()) fail("rank table: no rank {} among {}", rank, size());
  return seats_[static_cast<std::size_t>(rank)];
}

int RankTable::rank_of(Seat seat) const {
  if (seat.node >= workers_.size() || seat.local_rank < 0 || seat.local_rank >= workers_[seat.node])
    fail("rank table: no worker {} on node {}", seat.local_rank, seat.node);
  return first_rank_[seat.node] + seat.local_rank;
}

}  // namespace stint::topology
