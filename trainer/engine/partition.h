// SPDX-License-Identifier: Apache-2.0
// Who holds which part of the state. Each unit of the layout is cut into as many equal parts as there are
// ranks; a shard is some neighbouring parts of every unit: the chunk that reduce_scatter leaves to a rank.
// Ranks r of one group of `degree` neighbours hold one copy between them, those of equal r % degree hold the
// same shard. Pure.
#pragma once

#include <cstddef>
#include <vector>

#include "trainer/model/config.h"

namespace stint::engine {

// Elements [flat, flat + count) of the flat order. Buffers that hold a shard alone have them from `held` on.
struct Piece {
  std::size_t flat = 0, count = 0, held = 0;
};

class Partition {
 public:
  // The layout has as many parts as `world`; `degree` divides it. Throws Error that says what to do where it
  // does not.
  Partition(const model::Layout& layout, int world, int degree, int rank);

  int degree() const { return degree_; }
  int shard() const { return rank_ % degree_; }                      // which one this rank holds
  int replica() const { return rank_ / degree_; }                    // which copy of it
  std::vector<int> shard_group() const;                              // who hold a copy between them
  std::vector<int> replica_group() const;                            // who hold this shard
  const std::vector<Piece>& shard_pieces() const { return shard_; }  // one a unit
  std::size_t shard_floats() const { return shard_floats_; }
  // One a unit: this rank's own share of every sum over the whole state. The shares of all ranks are the
  // state; in the order of order_of(), they do not depend on the degree.
  const std::vector<Piece>& own_pieces() const { return own_; }
  int order_of(int rank) const { return rank % degree_ * (world_ / degree_) + rank / degree_; }

 private:
  int world_, degree_, rank_;
  std::vector<Piece> shard_, own_;
  std::size_t shard_floats_ = 0;
};

}  // namespace stint::engine
