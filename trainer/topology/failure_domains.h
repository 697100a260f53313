// SPDX-License-Identifier: Apache-2.0
// Who keeps whose state and who replaces whom, so that what fails together never holds both copies. Pure;
// every agent computes the same. Nodes are numbered as in the input.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "trainer/topology/placement.h"
#include "trainer/topology/rank_table.h"

namespace stint::topology {

// buddy[n]: the node that holds a copy of n's state. Disjoint pairs, which lose a state with fewer of all
// double failures than a ring does; of an odd number three form a cycle; a single node is its own. As many
// pairs as possible lie in different domains, at every level of the tree of switches at once.
std::vector<std::size_t> buddies(std::span<const NodePlace> places);

// Nodes whose buddy stands in their own failure domain.
std::size_t exposed(std::span<const NodePlace> places, std::span<const std::size_t> buddies);

// The spare that takes over from `lost`: in another failure domain than the buddy, which then holds the only
// copy, then the nearest to where `lost` stood, then by name. None: there is no spare.
std::optional<std::size_t> choose_spare(std::span<const NodePlace> places, std::size_t lost,
                                        std::size_t buddy, std::span<const std::size_t> spares);

// Which `count` nodes wait as spares: spread over the failure domains in proportion to their nodes, so that
// the replacement of a node is found near it. Throws Error when there are not more nodes than that.
std::vector<std::size_t> set_aside(std::span<const NodePlace> places, std::size_t count);

// `degree` ranks cut a state among themselves; the ranks with the same part hold replicas of it.
struct ShardGroups {
  std::vector<std::vector<int>> shards, replicas;
  std::string note;  // for people, when a group reaches beyond its node and NVLink domain; else empty
};
// Neighbours in rank, and so within a node or an NVLink domain where these are large enough. Throws Error
// when the degree does not divide the ranks.
ShardGroups shard_groups(const RankTable& ranks, std::span<const NodePlace> places, int degree);

}  // namespace stint::topology
