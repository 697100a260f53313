// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/partition.h"

#include "base/error.h"

namespace stint::engine {

Partition::Partition(const model::Layout& layout, int world, int degree, int rank)
    : world_(world), degree_(degree), rank_(rank) {
  if (degree < 1 || world % degree != 0)
    fail("recipe: parallel.shard_degree = {} does not divide the {} workers; take one that does, or zero3",
         degree, world);
  const auto parts = static_cast<std::size_t>(world), copies = static_cast<std::size_t>(world / degree);
  const auto first = static_cast<std::size_t>(shard()) * copies,
             own = first + static_cast<std::size_t>(replica());
  for (const auto& unit : layout.units()) {
    const std::size_t part = unit.size() / parts;
    shard_.push_back({unit.begin + first * part, copies * part, shard_floats_});
    own_.push_back({unit.begin + own * part, part, shard_floats_ + (own - first) * part});
    shard_floats_ += copies * part;
  }
}

std::vector<int> Partition::shard_group() const {
  std::vector<int> ranks;
  for (int i = 0; i < degree_; ++i) ranks.push_back(replica() * degree_ + i);
  return ranks;
}

std::vector<int> Partition::replica_group() const {
  std::vector<int> ranks;
  for (int rank = shard(); rank < world_; rank += degree_) ranks.push_back(rank);
  return ranks;
}

}  // namespace stint::engine
