// SPDX-License-Identifier: Apache-2.0
// Logical ranks and where they sit: nodes in ring order, then the workers of a node. Pure.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace stint::topology {

struct Seat {
  std::size_t node = 0;  // as numbered in the order
  int local_rank = 0;
  bool operator==(const Seat&) const = default;
};

class RankTable {
 public:
  // order[p]: the node at position p of the ring; workers[n]: how many node n has. Throws Error unless the
  // order names each node once and each has a worker.
  RankTable(std::span<const std::size_t> order, std::span<const int> workers);

  int size() const { return static_cast<int>(seats_.size()); }
  // Throw Error for what is not in the table.
  Seat seat_of(int rank) const;
  int rank_of(Seat seat) const;

 private:
  std::vector<Seat> seats_;      // by rank
  std::vector<int> first_rank_;  // by node
  std::vector<int> workers_;     // by node
};

}  // namespace stint::topology
