// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/placement.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>

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

Placement place(const std::vector<Identity>& nodes, std::size_t self, const topology::Machine& machine,
                const recipes::Recipe& recipe) {
  std::vector<topology::NodePlace> places;
  places.reserve(nodes.size());
  for (const Identity& node : nodes) places.push_back({node.node, node.topology, node.topology_pattern});
  topology::Order order = topology::order_nodes(places);
  Placement placement;
  placement.order = std::move(order.nodes);
  const topology::Slice slice = slice_of(nodes, self);
  placement.machine = topology::plan_machine(machine, static_cast<int>(recipe.resources.workers_per_node),
                                             static_cast<int>(recipe.resources.threads_per_worker), slice);
  const bool on_switches =
      std::any_of(nodes.begin(), nodes.end(), [](const Identity& node) { return !node.topology.empty(); });
  if (self == 0 && on_switches && !order.note.empty()) placement.notes.push_back(order.note);
  if (slice.index == 0)
    placement.notes.insert(placement.notes.end(), placement.machine.notes.begin(),
                           placement.machine.notes.end());
  return placement;
}

void bind_worker(WorkerCommand& command, const topology::Machine& machine, const topology::MachinePlan& plan,
                 int local) {
  command.environment.emplace_back("OMP_NUM_THREADS", std::to_string(plan.binding.threads));
  if (!machine.captured) {
    const auto is_set = [](const char* variable) { return std::getenv(variable) != nullptr; };
    auto devices = topology::device_environment(machine, plan, local, is_set);
    std::ranges::move(devices, std::back_inserter(command.environment));
  }
  command.bind = [binding = plan.binding, local] { return topology::apply_binding(binding, local); };
}

}  // namespace stint::agent
