// SPDX-License-Identifier: Apache-2.0
#include "trainer/topology/measured.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <set>

namespace stint::topology {
namespace {

constexpr std::size_t kMaxLandmarks = 64;
// Between two levels of the tree; below it a difference is taken for noise.
constexpr double kStep = 1.2;
// The shortest way between two groups against the longest within one.
constexpr double kApart = 1.1;
constexpr double kUnknown = std::numeric_limits<double>::infinity();

// Noise only ever adds: of the two directions the smaller one.
double time_between(const RoundTrips& times, std::size_t a, std::size_t b) {
  const double forth = times[a][b] > 0 ? times[a][b] : kUnknown,
               back = times[b][a] > 0 ? times[b][a] : kUnknown;
  return std::min(forth, back);
}

struct Merge {
  double height = 0;
  std::vector<std::size_t> group;  // after it: of each landmark
};

// Average linkage: every merge, from all apart to all together, heights ascending.
class Linkage {
 public:
  Linkage(const RoundTrips& times, const std::vector<std::size_t>& nodes)
      : distance_(nodes.size(), std::vector<double>(nodes.size())),
        size_(nodes.size(), 1),
        group_(nodes.size()) {
    for (std::size_t a = 0; a < nodes.size(); ++a)
      for (std::size_t b = 0; b < nodes.size(); ++b)
        distance_[a][b] = time_between(times, nodes[a], nodes[b]);
    std::iota(group_.begin(), group_.end(), std::size_t{0});
  }

  std::vector<Merge> run() {
    std::vector<Merge> merges;
    for (std::size_t left = size_.size(); left > 1; --left) {
      const auto [a, b] = nearest();
      merges.push_back({distance_[a][b], {}});
      merge(a, b);
      merges.back().group = group_;
    }
    return merges;
  }

 private:
  std::pair<std::size_t, std::size_t> nearest() const {
    std::pair<std::size_t, std::size_t> best{0, 0};
    double least = kUnknown;
    bool any = false;
    for (std::size_t a = 0; a < size_.size(); ++a)
      for (std::size_t b = a + 1; b < size_.size(); ++b)
        if (size_[a] > 0 && size_[b] > 0 && (!any || distance_[a][b] < least)) {
          any = true;
          least = distance_[a][b];
          best = {a, b};
        }
    return best;
  }

  void merge(std::size_t a, std::size_t b) {
    const double n = static_cast<double>(size_[a]), m = static_cast<double>(size_[b]);
    for (std::size_t c = 0; c < size_.size(); ++c)
      distance_[a][c] = distance_[c][a] = (n * distance_[a][c] + m * distance_[b][c]) / (n + m);
    size_[a] += size_[b];
    size_[b] = 0;
    std::ranges::replace(group_, b, a);
  }

  std::vector<std::vector<double>> distance_;
  std::vector<std::size_t> size_;  // 0: merged into another
  std::vector<std::size_t> group_;
};

// Noise alone groups some nodes, but it leaves most of them single and a few of the long ways short.
bool stands_out(const std::vector<std::size_t>& group, const RoundTrips& times,
                const std::vector<std::size_t>& nodes) {
  if (2 * std::set(group.begin(), group.end()).size() > nodes.size()) return false;
  double within = 0, between = kUnknown;
  for (std::size_t a = 0; a < nodes.size(); ++a)
    for (std::size_t b = a + 1; b < nodes.size(); ++b) {
      const double time = time_between(times, nodes[a], nodes[b]);
      if (time == kUnknown) continue;
      if (group[a] == group[b])
        within = std::max(within, time);
      else
        between = std::min(between, time);
    }
  return between > kApart * within;
}

// The levels of the tree, top first: group of each landmark.
std::vector<std::vector<std::size_t>> levels_of(const std::vector<Merge>& merges, const RoundTrips& times,
                                                const std::vector<std::size_t>& nodes) {
  std::vector<std::vector<std::size_t>> levels;
  for (std::size_t i = merges.size(); i-- > 1;)
    if (merges[i].height > kStep * merges[i - 1].height && stands_out(merges[i - 1].group, times, nodes))
      levels.push_back(merges[i - 1].group);
  return levels;
}

std::size_t nearest_landmark(const RoundTrips& times, const std::vector<std::size_t>& marks,
                             std::size_t node) {
  const auto near = [&](std::size_t mark) { return mark == node ? 0.0 : time_between(times, node, mark); };
  return static_cast<std::size_t>(std::ranges::min_element(marks, {}, near) - marks.begin());
}

}  // namespace

std::vector<std::size_t> landmarks(std::size_t nodes) {
  const std::size_t count = std::min(nodes, kMaxLandmarks);
  std::vector<std::size_t> marks;
  for (std::size_t i = 0; i < count; ++i) marks.push_back(i * nodes / count);
  return marks;
}

Measured group_by_distance(std::span<const NodePlace> places, const RoundTrips& times) {
  const auto marks = landmarks(places.size());
  const auto levels = levels_of(Linkage(times, marks).run(), times, marks);
  if (levels.empty())
    return {{}, "the measured distances of the nodes show no groups; the ring is in name order"};
  // Numbered as they are met in the order of names, so that the numbers mean something to people.
  std::vector<std::size_t> by_name(places.size());
  std::iota(by_name.begin(), by_name.end(), std::size_t{0});
  std::ranges::sort(by_name, natural_less, [&](std::size_t node) { return places[node].name; });
  Measured measured{{places.begin(), places.end()}, {}};
  std::vector<std::map<std::size_t, std::size_t>> numbers(levels.size());
  for (const std::size_t node : by_name) {
    const std::size_t mark = nearest_landmark(times, marks, node);
    NodePlace& place = measured.places[node];
    place.address.clear();
    place.pattern.clear();
    for (std::size_t level = 0; level < levels.size(); ++level) {
      const auto [known, first] = numbers[level].emplace(levels[level][mark], numbers[level].size() + 1);
      place.address +=
          fmt::format("{}{}.", level == 0 ? "group" : fmt::format("level{}-", level + 1), known->second);
      place.pattern += "switch.";
    }
    place.address += place.name;
    place.pattern += "node";
  }
  measured.note = fmt::format("the measured distances of the nodes show {} groups", numbers.back().size());
  return measured;
}

}  // namespace stint::topology
