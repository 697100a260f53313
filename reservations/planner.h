// SPDX-License-Identifier: Apache-2.0
// The planner: which nodes are free in a window of time, and which of them to take so that few leaf switches
// are crossed. Pure: integer time, node names and switch names in, node names out; knows nothing of Slurm,
// plans or users. Not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "reservations/window_search.h"

namespace stint::reservations {

struct PlannerNode {
  std::string name;
  std::vector<std::string> switches;  // from the root to the leaf switch; empty without a topology
};

// [start, end)
struct Window {
  std::chrono::sys_seconds start{};
  std::chrono::sys_seconds end{};

  bool overlaps(const Window& other) const { return start < other.end && other.start < end; }
};

class Planner {
 public:
  // Node names must be unique.
  explicit Planner(const std::vector<PlannerNode>& nodes);

  // Marks nodes as taken in a window; names that the planner does not know are ignored (another partition's).
  void add_span(const std::vector<std::string>& nodes, Window window);

  std::size_t size() const { return nodes_.size(); }

  // Names of the nodes that no span touches in the window, in the order given to the constructor.
  std::vector<std::string> available_during(Window window) const;

  // The maximal free times of all nodes as whole minutes from `origin` on: what is free for a part of a
  // minute is not.
  std::vector<MinuteSpan> free_times(std::chrono::sys_seconds origin, Minute horizon) const;

  // `count` of the free nodes on as few leaf switches as possible; among equals the lowest switch that holds
  // them all, then the one with the fewest free nodes left over. Empty when too few are free.
  std::vector<std::string> choose(std::size_t count, Window window) const;

  // The leaf switches that choose() would cross; 0 when too few nodes are free.
  std::size_t fewest_switches(std::size_t count, Window window) const;

  // The free nodes that are nearest to any of `anchors` (most switches in common from the root), nearest
  // first, by order among equals, none of them an anchor; fewer than `count` when fewer are free.
  std::vector<std::string> nearest(const std::vector<std::string>& anchors, std::size_t count,
                                   Window window) const;

  // `count` of `nodes` on few leaf switches, all of `must` among them where they fit: what is left of a set
  // that shrinks. In the order of `nodes`; free or not.
  std::vector<std::string> keep(const std::vector<std::string>& nodes, const std::set<std::string>& must,
                                std::size_t count) const;

  // How many leaf switches the nodes hang on; unknown names count as one switch each.
  std::size_t leaf_switches(const std::vector<std::string>& nodes) const;

 private:
  struct Node {
    std::string name;
    std::vector<std::size_t> path;  // of subtrees, from the root to the leaf switch
    std::vector<Window> busy;       // in any order, may overlap
  };
  // What hangs below one switch. The first one is the whole cluster.
  struct Subtree {
    std::size_t depth = 0;
    bool has_nodes = false;           // of its own: it is a leaf switch
    std::vector<std::size_t> leaves;  // the leaf switches in it, itself included
  };

  std::size_t subtree_below(std::size_t parent, const std::string& name);
  std::vector<std::size_t> free_nodes(Window window) const;
  std::vector<std::size_t> best_leaves(const std::vector<std::size_t>& free, std::size_t count,
                                       std::vector<std::size_t>& sizes) const;

  std::vector<Node> nodes_;
  std::unordered_map<std::string, std::size_t> index_;
  std::vector<Subtree> subtrees_;
  std::map<std::pair<std::size_t, std::string>, std::size_t> children_;  // of subtrees, by switch name
};

}  // namespace stint::reservations
