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

// The most time that exactly j blocks cover by minute t, for all t, and where the last of them begins. It
// ends at the first minute by which so much is covered.
struct Coverage {
  static constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::min();

  std::vector<std::int32_t> covered;  // never falls; kNone: j blocks do not fit
  std::vector<Minute> begins;

  // The first minute by which `length` is covered; covered.size(): none.
  Minute first(std::int64_t length) const {
    const auto found =
        std::lower_bound(covered.begin(), covered.end(), length,
                         [](std::int64_t value, std::int64_t wanted) { return value < wanted; });
    return static_cast<Minute>(found - covered.begin());
  }
};

// One block more, up to minute `until`. A block [s, t) is allowed where t <= reach[s] and t - s >= min_block;
// both bounds move forward with t, so that the best s is the front of a queue that keeps its values falling.
Coverage add_block(const Coverage& before, const std::vector<Minute>& reach, Minute min_block, Minute until) {
  Coverage after;
  after.covered.assign(static_cast<std::size_t>(until) + 1, Coverage::kNone);
  after.begins.assign(static_cast<std::size_t>(until) + 1, 0);
  std::deque<Minute> starts;
  const auto value = [&](Minute s) { return std::int64_t{before.covered[s]} - s; };
  for (Minute t = min_block; t <= until; ++t) {
    if (t > 0) {
      after.covered[t] = after.covered[t - 1];
      after.begins[t] = after.begins[t - 1];
    }
    const Minute entering = t - min_block;
    if (entering < reach.size() && reach[entering] > 0 && before.covered[entering] != Coverage::kNone) {
      while (!starts.empty() && value(starts.back()) < value(entering)) starts.pop_back();
      starts.push_back(entering);
    }
    while (!starts.empty() && reach[starts.front()] < t) starts.pop_front();
    if (starts.empty()) continue;
    const std::int64_t covered = value(starts.front()) + t;
    if (covered <= after.covered[t]) continue;
    after.covered[t] = static_cast<std::int32_t>(covered);
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
  auto until = static_cast<Minute>(reach.size());  // a schedule of more blocks must end earlier
  for (std::size_t count = 1; count <= max_blocks && count * min_block <= length && until > 0; ++count) {
    coverage.push_back(add_block(coverage.back(), reach, min_block, until));
    Minute t = coverage.back().first(length);
    if (t > until) continue;
    until = t - 1;
    std::vector<MinuteSpan> blocks(count);
    for (std::size_t j = count; j > 0; --j) {
      const auto end = coverage[j].first(coverage[j].covered[t]);
      blocks[j - 1] = {coverage[j].begins[t], end};
      t = blocks[j - 1].begin;
    }
    shrink_to(blocks, length, min_block);
    schedules.push_back(std::move(blocks));
  }
  return schedules;
}

std::optional<std::size_t> fewest_blocks(const std::vector<Minute>& reach, Minute length,
                                         std::size_t max_blocks, Minute min_block) {
  const auto until = static_cast<Minute>(reach.size());
  Coverage coverage;
  coverage.covered.assign(reach.size() + 1, 0);
  for (std::size_t count = 1; count <= max_blocks && count * min_block <= length; ++count) {
    coverage = add_block(coverage, reach, min_block, until);
    if (coverage.first(length) <= until) return count;
  }
  return std::nullopt;
}

}  // namespace stint::reservations
