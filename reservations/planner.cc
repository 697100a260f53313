// SPDX-License-Identifier: Apache-2.0
#include "reservations/planner.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <set>
#include <tuple>

namespace stint::reservations {
namespace {

using std::chrono::sys_seconds;

// Fewest leaves: the largest first; the last one is the smallest that still holds the rest. `leaves` and the
// result are indices into `sizes`.
std::vector<std::size_t> fewest_leaves(std::vector<std::size_t> leaves, const std::vector<std::size_t>& sizes,
                                       std::size_t count) {
  std::stable_sort(leaves.begin(), leaves.end(),
                   [&](std::size_t a, std::size_t b) { return sizes[a] > sizes[b]; });
  std::vector<std::size_t> taken;
  for (std::size_t i = 0; i < leaves.size() && count > 0; ++i) {
    std::size_t pick = i;
    if (sizes[leaves[i]] >= count) {
      while (pick + 1 < leaves.size() && sizes[leaves[pick + 1]] >= count) ++pick;
    }
    taken.push_back(leaves[pick]);
    count -= std::min(count, sizes[leaves[pick]]);
  }
  return taken;
}

// Whole minutes from `origin` to `time`, and 0 before it.
Minute minutes_after(sys_seconds origin, sys_seconds time, Minute horizon, bool round_up) {
  if (time <= origin) return 0;
  const auto seconds = (time - origin).count() + (round_up ? 59 : 0);
  return static_cast<Minute>(std::min<std::int64_t>(seconds / 60, horizon));
}

}  // namespace

Planner::Planner(const std::vector<PlannerNode>& nodes) : subtrees_(1) {
  for (const auto& node : nodes) {
    std::vector<std::size_t> path{0};
    for (const auto& name : node.switches) path.push_back(subtree_below(path.back(), name));
    const std::size_t leaf = path.back();
    if (!std::exchange(subtrees_[leaf].has_nodes, true)) {
      for (const std::size_t subtree : path) subtrees_[subtree].leaves.push_back(leaf);
    }
    index_.emplace(node.name, nodes_.size());
    nodes_.push_back({node.name, std::move(path), {}});
  }
}

std::size_t Planner::subtree_below(std::size_t parent, const std::string& name) {
  const auto [child, is_new] = children_.try_emplace({parent, name}, subtrees_.size());
  if (is_new) subtrees_.push_back({subtrees_[parent].depth + 1, false, {}});
  return child->second;
}

void Planner::add_span(const std::vector<std::string>& nodes, Window window) {
  for (const auto& name : nodes) {
    if (const auto found = index_.find(name); found != index_.end())
      nodes_[found->second].busy.push_back(window);
  }
}

std::vector<std::size_t> Planner::free_nodes(Window window) const {
  std::vector<std::size_t> free;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const auto& busy = nodes_[i].busy;
    if (std::none_of(busy.begin(), busy.end(), [&](const Window& span) { return span.overlaps(window); }))
      free.push_back(i);
  }
  return free;
}

std::vector<std::string> Planner::available_during(Window window) const {
  std::vector<std::string> names;
  for (const std::size_t node : free_nodes(window)) names.push_back(nodes_[node].name);
  return names;
}

std::vector<MinuteSpan> Planner::free_times(sys_seconds origin, Minute horizon) const {
  std::vector<MinuteSpan> free;
  std::vector<MinuteSpan> busy;  // of one node
  for (const auto& node : nodes_) {
    busy.clear();
    for (const auto& span : node.busy) {
      busy.push_back({minutes_after(origin, span.start, horizon, false),
                      minutes_after(origin, span.end, horizon, true)});
    }
    std::sort(busy.begin(), busy.end(),
              [](const MinuteSpan& a, const MinuteSpan& b) { return a.begin < b.begin; });
    Minute from = 0;
    for (const auto& span : busy) {
      if (span.begin > from) free.push_back({from, span.begin});
      from = std::max(from, span.end);
    }
    if (from < horizon) free.push_back({from, horizon});
  }
  return free;
}

// The leaf switches to take `count` of the free nodes from, the one that is taken in part last.
std::vector<std::size_t> Planner::best_leaves(const std::vector<std::size_t>& free, std::size_t count,
                                              std::vector<std::size_t>& sizes) const {
  sizes.assign(subtrees_.size(), 0);                    // free nodes on each leaf switch
  std::vector<std::size_t> below(subtrees_.size(), 0);  // and below each switch
  for (const std::size_t node : free) ++sizes[nodes_[node].path.back()];
  for (std::size_t i = 0; i < subtrees_.size(); ++i) {
    for (const std::size_t leaf : subtrees_[i].leaves) below[i] += sizes[leaf];
  }
  // fewest leaf switches, lowest switch, fewest free nodes left over
  using Score = std::tuple<std::size_t, std::ptrdiff_t, std::size_t>;
  std::optional<Score> best_score;
  std::vector<std::size_t> best;
  for (std::size_t i = 0; i < subtrees_.size(); ++i) {
    if (below[i] < count) continue;
    std::vector<std::size_t> leaves;
    for (const std::size_t leaf : subtrees_[i].leaves) {
      if (sizes[leaf] > 0) leaves.push_back(leaf);
    }
    auto taken = fewest_leaves(std::move(leaves), sizes, count);
    const Score score{taken.size(), -static_cast<std::ptrdiff_t>(subtrees_[i].depth), below[i]};
    if (best_score && *best_score <= score) continue;
    best_score = score;
    best = std::move(taken);
  }
  return best;
}

std::size_t Planner::fewest_switches(std::size_t count, Window window) const {
  std::vector<std::size_t> sizes;
  return best_leaves(free_nodes(window), count, sizes).size();
}

std::vector<std::string> Planner::choose(std::size_t count, Window window) const {
  if (count == 0) return {};
  const auto free = free_nodes(window);
  std::vector<std::size_t> sizes;
  const auto leaves = best_leaves(free, count, sizes);
  std::vector<std::size_t> wanted(subtrees_.size(), 0);
  std::size_t rest = count;
  for (const std::size_t leaf : leaves) {
    wanted[leaf] = std::min(rest, sizes[leaf]);
    rest -= wanted[leaf];
  }
  std::vector<std::string> names;
  for (const std::size_t node : free) {
    auto& open = wanted[nodes_[node].path.back()];
    if (open == 0) continue;
    --open;
    names.push_back(nodes_[node].name);
  }
  return names;
}

std::vector<std::string> Planner::nearest(const std::vector<std::string>& anchors, std::size_t count,
                                          Window window) const {
  std::vector<bool> near(subtrees_.size(), false);  // subtrees with an anchor
  const std::set<std::string> known(anchors.begin(), anchors.end());
  for (const auto& anchor : anchors) {
    if (const auto found = index_.find(anchor); found != index_.end())
      for (const std::size_t subtree : nodes_[found->second].path) near[subtree] = true;
  }
  std::vector<std::pair<std::ptrdiff_t, std::size_t>> ranked;  // minus the switches in common, node
  for (const std::size_t node : free_nodes(window)) {
    if (known.contains(nodes_[node].name)) continue;
    const auto& path = nodes_[node].path;
    ranked.emplace_back(
        -std::count_if(path.begin(), path.end(), [&](std::size_t subtree) { return near[subtree]; }), node);
  }
  std::sort(ranked.begin(), ranked.end());
  if (ranked.size() > count) ranked.resize(count);
  std::vector<std::string> names;
  for (const auto& [common, node] : ranked) names.push_back(nodes_[node].name);
  return names;
}

std::vector<std::string> Planner::keep(const std::vector<std::string>& nodes,
                                       const std::set<std::string>& must, std::size_t count) const {
  const auto leaf_of = [&](const std::string& name) {
    const auto found = index_.find(name);
    return found == index_.end() ? subtrees_.size() : nodes_[found->second].path.back();
  };
  std::map<std::size_t, std::pair<std::size_t, std::size_t>> leaves;  // nodes of `must`, and of all
  for (const auto& name : nodes) {
    auto& [needed, all] = leaves[leaf_of(name)];
    needed += must.contains(name) ? 1 : 0;
    ++all;
  }
  auto ranked = nodes;
  const auto rank = [&](const std::string& name) {
    const std::size_t leaf = leaf_of(name);
    const auto& [needed, all] = leaves.at(leaf);
    return std::tuple(!must.contains(name), needed == 0, -static_cast<std::ptrdiff_t>(all), leaf);
  };
  std::stable_sort(ranked.begin(), ranked.end(),
                   [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  ranked.resize(std::min(count, ranked.size()));
  const std::set<std::string> kept(ranked.begin(), ranked.end());
  std::vector<std::string> in_order;
  std::copy_if(nodes.begin(), nodes.end(), std::back_inserter(in_order),
               [&](const std::string& name) { return kept.contains(name); });
  return in_order;
}

std::size_t Planner::leaf_switches(const std::vector<std::string>& nodes) const {
  std::set<std::size_t> leaves;
  std::set<std::string> strangers;
  for (const auto& name : nodes) {
    if (const auto found = index_.find(name); found != index_.end())
      leaves.insert(nodes_[found->second].path.back());
    else
      strangers.insert(name);
  }
  return leaves.size() + strangers.size();
}

}  // namespace stint::reservations
