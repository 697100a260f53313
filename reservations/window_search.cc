// SPDX-License-Identifier: Apache-2.0
#include "reservations/window_search.h"

#include <algorithm>
#include <deque>
#include <limits>

namespace stint::reservations {
namespace {

// Counting sort: linear, and the grid is never larger than a few years of minutes.
std::vector<MinuteSpan> by_begin(const std::vector<MinuteSpan>& spans, Minute horizon) {
  std::vector<std::size_t> place(static_cast<std::size_t>(horizon) + 1, 0);
  for (const auto& span : spans) {
    if (span.begin < std::min(span.end, horizon)) ++place[span.begin + 1];
  }
  for (std::size_t i = 1; i < place.size(); ++i) place[i] += place[i - 1];
  std::vector<MinuteSpan> sorted(place.back());
  for (const auto& span : spans) {
    if (span.begin < std::min(span.end, horizon))
      sorted[place[span.begin]++] = {span.begin, std::min(span.end, horizon)};
  }
  return sorted;
}

// The most time that exactly j blocks cover by minute t, for all t, and where the last of them begins.
struct Coverage {
  static constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::min() / 2;

  std::vector<std::int64_t> covered;  // kNone: j blocks do not fit
  std::vector<Minute> ends;           // the minute <= t at which the last block of that best ends
  std::vector<Minute> begins;         // and where it begins
};

// One block more. A block [s, t) is allowed where t <= reach[s] and t - s >= min_block; both bounds move
// forward with t, so that the best s is the front of a queue that keeps its values falling.
Coverage add_block(const Coverage& before, const std::vector<Minute>& reach, Minute min_block) {
  const auto horizon = static_cast<Minute>(reach.size());
  Coverage after;
  after.covered.assign(horizon + 1, Coverage::kNone);
  after.ends.assign(horizon + 1, 0);
  after.begins.assign(horizon + 1, 0);
  std::deque<Minute> starts;
  const auto value = [&](Minute s) { return before.covered[s] - static_cast<std::int64_t>(s); };
  for (Minute t = min_block; t <= horizon; ++t) {
    if (t > 0) {
      after.covered[t] = after.covered[t - 1];
      after.ends[t] = after.ends[t - 1];
      after.begins[t] = after.begins[t - 1];
    }
    const Minute entering = t - min_block;
    if (entering < horizon && reach[entering] > 0 && before.covered[entering] != Coverage::kNone) {
      while (!starts.empty() && value(starts.back()) < value(entering)) starts.pop_back();
      starts.push_back(entering);
    }
    while (!starts.empty() && reach[starts.front()] < t) starts.pop_front();
    if (starts.empty()) continue;
    const std::int64_t covered = value(starts.front()) + t;
    if (covered <= after.covered[t]) continue;
    after.covered[t] = covered;
    after.ends[t] = t;
    after.begins[t] = starts.front();
  }
  return after;
}

// Any part of a block is a block, so a schedule can shrink to any total that leaves each its minimum. Early
// blocks begin later: nobody waits for an end that comes earlier.
void shrink_to(std::vector<MinuteSpan>& blocks, std::int64_t length, Minute min_block) {
  std::int64_t excess = -length;
  for (const auto& block : blocks) excess += block.length();
  for (auto& block : blocks) {
    const auto cut = std::min<std::int64_t>(excess, block.length() - min_block);
    block.begin += static_cast<Minute>(cut);
    excess -= cut;
  }
}

}  // namespace

WindowSearch::WindowSearch(const std::vector<MinuteSpan>& free, Minute horizon)
    : horizon_(horizon), free_(by_begin(free, horizon)) {}

std::vector<std::size_t> WindowSearch::free_counts() const {
  std::vector<std::int64_t> change(static_cast<std::size_t>(horizon_) + 1, 0);
  for (const auto& span : free_) {
    ++change[span.begin];
    --change[span.end];
  }
  std::vector<std::size_t> counts(horizon_);
  std::int64_t count = 0;
  for (Minute t = 0; t < horizon_; ++t) {
    count += change[t];
    counts[t] = static_cast<std::size_t>(count);
  }
  return counts;
}

// Two hands: s takes in the free times that have begun, e drops those that end. `lasting` counts the former
// that reach to e; `ending[m]` those of them that end at m.
std::vector<Minute> WindowSearch::reach(std::size_t nodes) const {
  std::vector<Minute> reach(horizon_, 0);
  std::vector<std::size_t> ending(static_cast<std::size_t>(horizon_) + 1, 0);
  std::size_t lasting = 0;
  std::size_t next = 0;
  Minute e = 0;
  for (Minute s = 0; s < horizon_; ++s) {
    for (; next < free_.size() && free_[next].begin == s; ++next) {
      if (free_[next].end < e) continue;
      ++lasting;
      ++ending[free_[next].end];
    }
    while (e < horizon_ && (e <= s || lasting - ending[e] >= nodes)) lasting -= ending[e++];
    if (lasting >= nodes) reach[s] = e;
  }
  return reach;
}

std::optional<WindowSearch::Widest> WindowSearch::widest(Minute length) const {
  if (length == 0 || length > horizon_) return std::nullopt;
  std::vector<std::int64_t> change(static_cast<std::size_t>(horizon_) + 1, 0);
  for (const auto& span : free_) {
    if (span.length() < length) continue;
    ++change[span.begin];
    --change[span.end - length + 1];
  }
  Widest best;
  std::int64_t count = 0;
  for (Minute t = 0; t + length <= horizon_; ++t) {
    count += change[t];
    if (static_cast<std::size_t>(count) > best.nodes) best = {static_cast<std::size_t>(count), t};
  }
  return best;
}

MinuteSpan longest_block(const std::vector<Minute>& reach) {
  MinuteSpan best;
  for (Minute s = 0; s < reach.size(); ++s) {
    if (reach[s] > 0 && reach[s] - s > best.length()) best = {s, reach[s]};
  }
  return best;
}

std::vector<MinuteSpan> feasible_starts(const std::vector<Minute>& reach, Minute length) {
  std::vector<MinuteSpan> runs;
  for (Minute s = 0; s < reach.size(); ++s) {
    if (reach[s] == 0 || reach[s] - s < length) continue;
    if (runs.empty() || runs.back().end != s) runs.push_back({s, s});
    runs.back().end = s + 1;
  }
  return runs;
}

std::vector<std::vector<MinuteSpan>> earliest_schedules(const std::vector<Minute>& reach, Minute length,
                                                        std::size_t max_blocks, Minute min_block) {
  std::vector<std::vector<MinuteSpan>> schedules;
  std::vector<Coverage> coverage(1);
  coverage.front().covered.assign(reach.size() + 1, 0);
  auto earliest = std::numeric_limits<std::size_t>::max();
  for (std::size_t count = 1; count <= max_blocks && count * min_block <= length; ++count) {
    coverage.push_back(add_block(coverage.back(), reach, min_block));
    const auto& covered = coverage.back().covered;  // never falls
    const auto found = std::lower_bound(covered.begin(), covered.end(), static_cast<std::int64_t>(length));
    if (found == covered.end()) continue;
    auto t = static_cast<std::size_t>(found - covered.begin());
    if (t >= earliest) continue;
    earliest = t;
    std::vector<MinuteSpan> blocks(count);
    for (std::size_t j = count; j > 0; --j) {
      blocks[j - 1] = {coverage[j].begins[t], coverage[j].ends[t]};
      t = blocks[j - 1].begin;
    }
    shrink_to(blocks, length, min_block);
    schedules.push_back(std::move(blocks));
  }
  return schedules;
}

}  // namespace stint::reservations
