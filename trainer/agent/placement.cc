// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/placement.h"

#include <algorithm>

#include "trainer/topology/placement.h"

namespace stint::agent {
namespace {

topology::Slice slice_of(const std::vector<Identity>& nodes, std::size_t self) {
  topology::Slice slice{0, 0};
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].host != nodes[self].host) continue;
    if (i < self) ++slice.index;
    ++slice.count;
  }
  return slice;
}

}  // namespace

Placement place(const std::vector<Identity>& nodes, std::size_t self,
                const std::vector<topology::Core>& cores, const recipes::Recipe& recipe) {
  std::vector<topology::NodePlace> places;
  places.reserve(nodes.size());
  for (const Identity& node : nodes) places.push_back({node.node, node.topology, node.topology_pattern});
  topology::Order order = topology::order_nodes(places);
  Placement placement;
  placement.order = std::move(order.nodes);
  const topology::Slice slice = slice_of(nodes, self);
  placement.binding = topology::plan_binding(cores, static_cast<int>(recipe.resources.workers_per_node),
                                             static_cast<int>(recipe.resources.threads_per_worker), slice);
  const bool on_switches =
      std::any_of(nodes.begin(), nodes.end(), [](const Identity& node) { return !node.topology.empty(); });
  if (self == 0 && on_switches && !order.note.empty()) placement.notes.push_back(order.note);
  if (slice.index == 0 && !placement.binding.note.empty()) placement.notes.push_back(placement.binding.note);
  return placement;
}

void bind_worker(WorkerCommand& command, const topology::BindingPlan& plan, int local) {
  command.environment.emplace_back("OMP_NUM_THREADS", std::to_string(plan.threads));
  command.bind = [plan, local] { return topology::apply_binding(plan, local); };
}

}  // namespace stint::agent
