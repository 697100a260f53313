// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/ways.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <sstream>

#include "base/error.h"
#include "base/text.h"

namespace stint::comm {
namespace {

constexpr std::array<const char*, 2> kReduceNames{"straight", "halving"};
constexpr std::array<const char*, 3> kGatherNames{"straight", "ring", "doubling"};
constexpr std::array<const char*, 3> kAllReduceNames{"parts", "direct", "doubling"};

template <typename Way, std::size_t kCount>
Way parse_way(const std::string& word, const std::array<const char*, kCount>& names) {
  const auto found = std::ranges::find(names, word);
  if (found == names.end()) fail("communication: '{}' is no way of a collective", word);
  return static_cast<Way>(found - names.begin());
}

template <typename Way, std::size_t kCount>
const char* name_of(Way way, const std::array<const char*, kCount>& names) {
  return names[static_cast<std::size_t>(way)];
}

}  // namespace

bool can_halve(int ranks) {
  return std::has_single_bit(static_cast<unsigned>(ranks));
}

std::vector<Reduce> reduce_ways(int ranks) {
  if (can_halve(ranks)) return {Reduce::kStraight, Reduce::kHalving};
  return {Reduce::kStraight};
}

std::vector<Gather> gather_ways(int ranks) {
  if (can_halve(ranks)) return {Gather::kStraight, Gather::kRing, Gather::kDoubling};
  return {Gather::kStraight, Gather::kRing};
}

std::vector<AllReduce> all_reduce_ways(int ranks) {
  if (can_halve(ranks)) return {AllReduce::kParts, AllReduce::kDirect, AllReduce::kDoubling};
  return {AllReduce::kParts, AllReduce::kDirect};
}

WaysBySize WaysBySize::guess(int ranks) {
  WaysBySize ways;
  const bool halves = can_halve(ranks);
  ways.set(0, {Reduce::kStraight, Gather::kStraight, halves ? AllReduce::kDoubling : AllReduce::kDirect});
  ways.set(32 * 1024, {halves ? Reduce::kHalving : Reduce::kStraight,
                       halves ? Gather::kDoubling : Gather::kRing, AllReduce::kParts});
  return ways;
}

void WaysBySize::set(std::size_t bytes, const Ways& ways) {
  std::erase_if(rows_, [&](const Row& row) { return row.from == bytes; });
  const auto place = std::ranges::find_if(rows_, [&](const Row& row) { return row.from > bytes; });
  rows_.insert(place, {bytes, ways});
}

const Ways& WaysBySize::operator()(std::size_t bytes) const {
  const auto after = std::ranges::find_if(rows_, [&](const Row& row) { return row.from > bytes; });
  return after == rows_.begin() ? rows_.front().ways : std::prev(after)->ways;
}

bool WaysBySize::fit(int ranks) const {
  return can_halve(ranks) || std::ranges::none_of(rows_, [](const Row& row) {
           return row.ways.reduce == Reduce::kHalving || row.ways.gather == Gather::kDoubling ||
                  row.ways.all_reduce == AllReduce::kDoubling;
         });
}

std::string WaysBySize::text() const {
  std::string text;
  for (const auto& [from, ways] : rows_)
    text += fmt::format("{}{} {} {} {}", text.empty() ? "" : ", ", from, name_of(ways.reduce, kReduceNames),
                        name_of(ways.gather, kGatherNames), name_of(ways.all_reduce, kAllReduceNames));
  return text;
}

WaysBySize WaysBySize::parse(std::string_view text) {
  WaysBySize ways;
  std::istringstream rows{std::string(text)};
  for (std::string row; std::getline(rows, row, ',');) {
    std::istringstream words(row);
    std::string from, reduce, gather, whole, more;
    words >> from >> reduce >> gather >> whole;
    if (whole.empty() || words >> more) fail("communication: '{}' is no choice of ways", row);
    ways.set(static_cast<std::size_t>(parse_integer(from, 0, std::int64_t{1} << 50)),
             {parse_way<Reduce>(reduce, kReduceNames), parse_way<Gather>(gather, kGatherNames),
              parse_way<AllReduce>(whole, kAllReduceNames)});
  }
  if (ways.rows_.empty()) fail("communication: there is no choice of ways");
  return ways;
}

}  // namespace stint::comm
