// SPDX-License-Identifier: Apache-2.0
// The planner: which nodes are free in a window of time, and which of them to take so that few leaf switches
// are crossed. Pure: integer time, node names and switch names in, node names out; knows nothing of Slurm,
// plans or users. Not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

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
  using SpanId = std::uint64_t;

  // Node names must be unique.
  explicit Planner(std::vector<PlannerNode> nodes);

  // Marks nodes as taken in a window; names that the planner does not know are ignored (another partition's).
  SpanId add_span(const std::vector<std::string>& nodes, Window window);
  void remove_span(SpanId id);

  // Names of the nodes that no span touches in the window, in the order given to the constructor.
  std::vector<std::string> available_during(Window window) const;

  // The first time >= from, and <= until, at which `count` nodes are free for `duration`.
  std::optional<std::chrono::sys_seconds> available_time_first(std::size_t count,
                                                               std::chrono::seconds duration,
                                                               std::chrono::sys_seconds from,
                                                               std::chrono::sys_seconds until) const;

  // `count` of the free nodes on as few leaf switches as possible; among equals the lowest switch that holds
  // them all, then the one with the fewest free nodes left over. Empty when too few are free.
  std::vector<std::string> choose(std::size_t count, Window window) const;

  // The free node that is nearest to `node` (most switches in common from the root), first by order among
  // equals.
  std::optional<std::string> nearest(const std::string& node, Window window) const;

  // How many leaf switches the nodes hang on; unknown names count as one switch each.
  std::size_t leaf_switches(const std::vector<std::string>& nodes) const;

 private:
  struct Span {
    std::set<std::size_t> nodes;
    Window window;
  };

  std::vector<std::size_t> free_nodes(Window window) const;
  std::string leaf(std::size_t node) const;

  std::vector<PlannerNode> nodes_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::map<SpanId, Span> spans_;
  SpanId next_id_ = 1;
};

}  // namespace stint::reservations
