// SPDX-License-Identifier: Apache-2.0
// A tree of switches guessed from how long small messages take. Pure; every agent computes the same from the
// same times.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "trainer/topology/placement.h"

namespace stint::topology {

// Round trips in microseconds, [from][to]; not above 0: not measured.
using RoundTrips = std::vector<std::vector<double>>;

// Nodes that all others measure themselves against; every node up to 64 of them, then 64 spread over all.
std::vector<std::size_t> landmarks(std::size_t nodes);

struct Measured {
  std::vector<NodePlace> places;  // the given ones, on groups that stand for switches; empty: no structure
  std::string note;               // for people
};
// Groups the landmarks by average linkage and cuts where the distance to the next group grows by a fifth at
// least, every way out of a group is longer than all within, and two nodes a group remain; other nodes join
// the landmark nearest to them.
Measured group_by_distance(std::span<const NodePlace> places, const RoundTrips& times);

}  // namespace stint::topology
