// SPDX-License-Identifier: Apache-2.0
#include "reservations/planner.h"

#include <algorithm>
#include <tuple>

namespace stint::reservations {
namespace {

using Group = std::vector<std::size_t>;  // free nodes of one leaf switch

// Fewest groups: the largest first; the last one is the smallest that still holds the rest.
std::vector<std::size_t> take_from_groups(std::vector<Group> groups, std::size_t count,
                                          std::size_t& groups_used) {
  std::stable_sort(groups.begin(), groups.end(),
                   [](const Group& a, const Group& b) { return a.size() > b.size(); });
  std::vector<std::size_t> taken;
  groups_used = 0;
  for (std::size_t i = 0; i < groups.size() && taken.size() < count; ++i) {
    const std::size_t rest = count - taken.size();
    std::size_t pick = i;
    if (groups[i].size() >= rest) {
      while (pick + 1 < groups.size() && groups[pick + 1].size() >= rest) ++pick;
    }
    const std::size_t take = std::min(rest, groups[pick].size());
    taken.insert(taken.end(), groups[pick].begin(), groups[pick].begin() + static_cast<std::ptrdiff_t>(take));
    ++groups_used;
  }
  return taken;
}

std::size_t common_prefix(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

}  // namespace

Planner::Planner(std::vector<PlannerNode> nodes) : nodes_(std::move(nodes)) {
  for (std::size_t i = 0; i < nodes_.size(); ++i) index_[nodes_[i].name] = i;
}

Planner::SpanId Planner::add_span(const std::vector<std::string>& nodes, Window window) {
  Span span{{}, window};
  for (const auto& name : nodes) {
    if (const auto found = index_.find(name); found != index_.end()) span.nodes.insert(found->second);
  }
  spans_.emplace(next_id_, std::move(span));
  return next_id_++;
}

void Planner::remove_span(SpanId id) {
  spans_.erase(id);
}

std::vector<std::size_t> Planner::free_nodes(Window window) const {
  std::vector<bool> busy(nodes_.size(), false);
  for (const auto& [id, span] : spans_) {
    if (!span.window.overlaps(window)) continue;
    for (std::size_t node : span.nodes) busy[node] = true;
  }
  std::vector<std::size_t> free;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (!busy[i]) free.push_back(i);
  }
  return free;
}

std::vector<std::string> Planner::available_during(Window window) const {
  std::vector<std::string> names;
  for (std::size_t node : free_nodes(window)) names.push_back(nodes_[node].name);
  return names;
}

std::optional<std::chrono::sys_seconds> Planner::available_time_first(std::size_t count,
                                                                      std::chrono::seconds duration,
                                                                      std::chrono::sys_seconds from,
                                                                      std::chrono::sys_seconds until) const {
  // Nodes only become free where a span ends.
  std::set<std::chrono::sys_seconds> candidates{from};
  for (const auto& [id, span] : spans_) {
    if (span.window.end > from && span.window.end <= until) candidates.insert(span.window.end);
  }
  for (const auto start : candidates) {
    if (free_nodes({start, start + duration}).size() >= count) return start;
  }
  return std::nullopt;
}

// Nodes without a topology all hang on one nameless switch.
std::string Planner::leaf(std::size_t node) const {
  return nodes_[node].switches.empty() ? std::string{} : nodes_[node].switches.back();
}

std::vector<std::string> Planner::choose(std::size_t count, Window window) const {
  if (count == 0) return {};
  // Every switch of every level is a candidate subtree; the empty path is the whole cluster.
  std::map<std::vector<std::string>, Group> subtrees;
  for (std::size_t node : free_nodes(window)) {
    const auto& path = nodes_[node].switches;
    for (std::size_t depth = 0; depth <= path.size(); ++depth) {
      subtrees[{path.begin(), path.begin() + static_cast<std::ptrdiff_t>(depth)}].push_back(node);
    }
  }
  // fewest leaf switches, deepest subtree, fewest free nodes left over
  using Score = std::tuple<std::size_t, std::ptrdiff_t, std::size_t>;
  std::optional<Score> best_score;
  std::vector<std::size_t> best;
  for (const auto& [path, members] : subtrees) {
    if (members.size() < count) continue;
    std::map<std::string, Group> leaves;
    for (std::size_t node : members) leaves[leaf(node)].push_back(node);
    std::vector<Group> groups;
    for (auto& [name, group] : leaves) groups.push_back(std::move(group));
    std::size_t used = 0;
    auto taken = take_from_groups(std::move(groups), count, used);
    const Score score{used, -static_cast<std::ptrdiff_t>(path.size()), members.size()};
    if (best_score && *best_score <= score) continue;
    best_score = score;
    best = std::move(taken);
  }
  std::sort(best.begin(), best.end());
  std::vector<std::string> names;
  for (std::size_t node : best) names.push_back(nodes_[node].name);
  return names;
}

std::optional<std::string> Planner::nearest(const std::string& node, Window window) const {
  const auto found = index_.find(node);
  const std::vector<std::string> home =
      found == index_.end() ? std::vector<std::string>{} : nodes_[found->second].switches;
  std::optional<std::size_t> best;
  std::size_t best_common = 0;
  for (std::size_t candidate : free_nodes(window)) {
    if (nodes_[candidate].name == node) continue;
    const std::size_t common = common_prefix(home, nodes_[candidate].switches);
    if (best && common <= best_common) continue;
    best = candidate;
    best_common = common;
  }
  if (!best) return std::nullopt;
  return nodes_[*best].name;
}

std::size_t Planner::leaf_switches(const std::vector<std::string>& nodes) const {
  std::set<std::string> leaves;
  for (const auto& name : nodes) {
    const auto found = index_.find(name);
    leaves.insert(found == index_.end() ? "?" + name : leaf(found->second));
  }
  return leaves.size();
}

}  // namespace stint::reservations
