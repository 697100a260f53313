// SPDX-License-Identifier: Apache-2.0
// When are enough nodes free at once? Pure, on a grid of minutes counted from an origin that the caller
// keeps. A block is one contiguous time on one fixed set of nodes, so what counts is not how many nodes are
// free at each minute, but how many stay free through the whole block.
//
// Cost: linear in intervals and minutes, times the number of blocks where several are allowed: then 8 bytes
// for each block and minute are held.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace stint::reservations {

using Minute = std::uint32_t;

// [begin, end): of one free time of a node, or of a block.
struct MinuteSpan {
  Minute begin = 0;
  Minute end = 0;

  Minute length() const { return end - begin; }
  bool operator==(const MinuteSpan&) const = default;
};

class WindowSearch {
 public:
  // The maximal free times of each node, in any order; those of one node must not touch each other. Parts
  // beyond `horizon`, and empty ones, are dropped.
  WindowSearch(const std::vector<MinuteSpan>& free, Minute horizon);

  Minute horizon() const { return horizon_; }

  // Nodes that are free in each minute; `horizon` values.
  std::vector<std::size_t> free_counts() const;

  // For each minute s the last e such that some `nodes` nodes are free through [s, e); 0 where fewer than
  // `nodes` are free at s. Where it is not 0 it never falls. `nodes` > 0.
  std::vector<Minute> reach(std::size_t nodes) const;

  // The most nodes that are free through one block of this length, and its first start; nothing where the
  // length does not fit before the horizon.
  struct Widest {
    std::size_t nodes = 0;
    Minute begin = 0;
  };
  std::optional<Widest> widest(Minute length) const;

 private:
  Minute horizon_;
  std::vector<MinuteSpan> free_;  // by begin
};

// The longest block that `reach` admits, and the first of these; empty without one.
MinuteSpan longest_block(const std::vector<Minute>& reach);

// Starts at which one block of this length fits, as maximal runs [first start, last start + 1).
std::vector<MinuteSpan> feasible_starts(const std::vector<Minute>& reach, Minute length);

// Schedules of exactly 1, 2, … max_blocks blocks, none shorter than `min_block`, in order of time, that
// together last `length`; each ends as early as any schedule of so many blocks can. Those that end no earlier
// than one of fewer blocks are left out. A block may follow another without a gap, on other nodes.
// `min_block` > 0.
std::vector<std::vector<MinuteSpan>> earliest_schedules(const std::vector<Minute>& reach, Minute length,
                                                        std::size_t max_blocks, Minute min_block);

// How many blocks the first of these schedules has; none: even max_blocks do not do. Holds little memory.
std::optional<std::size_t> fewest_blocks(const std::vector<Minute>& reach, Minute length,
                                         std::size_t max_blocks, Minute min_block);

}  // namespace stint::reservations
