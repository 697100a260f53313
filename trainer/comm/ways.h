// SPDX-License-Identifier: Apache-2.0
// How the collectives over a transport can go, and which way for how many bytes. All ways add in the order of
// communicator.h, so the choice changes no bit: it is a matter of time alone, and is made by measuring.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace stint::comm {

enum class Reduce : std::uint8_t { kStraight, kHalving };
enum class Gather : std::uint8_t { kStraight, kRing, kDoubling };
// An all_reduce in which every rank ends up adding everything, or in two parts as above.
enum class AllReduce : std::uint8_t { kParts, kDirect, kDoubling };

struct Ways {
  Reduce reduce = Reduce::kStraight;
  Gather gather = Gather::kRing;
  AllReduce all_reduce = AllReduce::kParts;
  bool operator==(const Ways&) const = default;
};

class WaysBySize {
 public:
  static constexpr std::size_t kMostWhole = 256 * 1024;  // bytes of which all are sent to several ranks

  // What is likely to be best among so many ranks.
  static WaysBySize guess(int ranks);

  // For buffers of `bytes` and more, up to the next such size. The first is for all smaller ones too.
  void set(std::size_t bytes, const Ways& ways);
  const Ways& operator()(std::size_t bytes) const;
  // Whether so many ranks can go all of these ways.
  bool fit(int ranks) const;

  // "0 straight ring direct, 65536 halving doubling parts"; parse() throws Error.
  std::string text() const;
  static WaysBySize parse(std::string_view text);
  bool operator==(const WaysBySize&) const = default;

 private:
  struct Row {
    std::size_t from;
    Ways ways;
    bool operator==(const Row&) const = default;
  };
  std::vector<Row> rows_;  // ascending, never empty once made
};

// Halving and doubling are among a power of two.
bool can_halve(int ranks);
std::vector<Reduce> reduce_ways(int ranks);
std::vector<Gather> gather_ways(int ranks);
std::vector<AllReduce> all_reduce_ways(int ranks);

}  // namespace stint::comm
