// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <map>
#include <set>
#include <system_error>

#include "base/final_error.h"
#include "trainer/topology/failure_domains.h"

namespace stint::agent {
namespace {

// A ring of three has one order only.
constexpr std::size_t kWorthMeasuring = 4;

topology::Slice slice_of(const std::vector<Identity>& nodes, std::size_t self) {
  topology::Slice slice{0, 0};
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].host != nodes[self].host) continue;
    if (i < self) ++slice.index;
    ++slice.count;
  }
  return slice;
}

std::vector<topology::NodePlace> places_of(const std::vector<Identity>& nodes) {
  std::vector<topology::NodePlace> places;
  places.reserve(nodes.size());
  for (const Identity& node : nodes)
    places.push_back({node.node, node.topology, node.topology_pattern, node.nvlink_domain});
  return places;
}

bool on_switches(const std::vector<topology::NodePlace>& places) {
  return std::ranges::any_of(places, [](const topology::NodePlace& place) {
    const auto switches = topology::switches_of(place);
    return switches && !switches->empty();
  });
}

// "2 kinds of processor: A on n1, n2; B on n3"; empty: one.
std::string mixed_processors(const std::vector<Identity>& nodes) {
  constexpr std::size_t kShown = 4;
  std::map<std::string, std::vector<std::string>> kinds;
  for (const Identity& node : nodes) kinds[node.cpu_model].push_back(node.node);
  if (kinds.size() < 2) return {};
  std::string text;
  for (auto& [model, names] : kinds) {
    const std::size_t more = names.size() - std::min(names.size(), kShown);
    names.resize(names.size() - more);
    text += fmt::format("{}{} on {}{}", text.empty() ? "" : "; ", model.empty() ? "an unknown one" : model,
                        fmt::join(names, ", "), more == 0 ? "" : fmt::format(" and {} more", more));
  }
  return fmt::format(
      "{} kinds of processor ({}): the slowest sets the pace, and results differ from those of equal nodes "
      "in their "
      "last bits; ask for one kind with sbatch --constraint=FEATURE",
      kinds.size(), text);
}

void add_interfaces(const char* folder, std::set<std::string>& names) {
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    names.insert(at->path().filename());
}

std::string counted(std::size_t number, const char* what) {
  return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
}

}  // namespace

bool wants_measuring(const std::vector<Identity>& nodes, const recipes::Recipe& recipe) {
  if (nodes.size() < 2 || recipe.topology.measure == "no") return false;
  if (recipe.topology.measure == "yes") return true;
  std::set<std::string> hosts;
  for (const Identity& node : nodes) hosts.insert(node.host);
  return hosts.size() >= kWorthMeasuring && !on_switches(places_of(nodes));
}

Layout lay_out(const std::vector<Identity>& nodes, const topology::RoundTrips& times) {
  Layout layout;
  layout.places = places_of(nodes);
  if (on_switches(layout.places)) layout.source = Layout::Source::kSlurm;
  if (!times.empty()) {
    auto measured = topology::group_by_distance(layout.places, times);
    layout.notes.push_back(measured.note);
    if (!measured.places.empty()) {
      layout.source = Layout::Source::kMeasured;
      layout.places = std::move(measured.places);
    }
  }
  topology::Order order = topology::order_nodes(layout.places);
  layout.order = std::move(order.nodes);
  layout.buddies = topology::buddies(layout.places);
  if (!order.note.empty() && times.empty())
    order.note += nodes.size() < kWorthMeasuring ? "" : " (topology.measure = yes finds out their distances)";
  if (!order.note.empty() && layout.notes.empty() && nodes.size() > 1) layout.notes.push_back(order.note);
  if (auto mixed = mixed_processors(nodes); !mixed.empty()) layout.notes.push_back(std::move(mixed));
  return layout;
}

Placement place(const std::vector<Identity>& nodes, std::size_t self, const topology::Machine& machine,
                const recipes::Recipe& recipe, const Layout& layout) {
  Placement placement;
  const topology::Slice slice = slice_of(nodes, self);
  placement.machine = topology::plan_machine(machine, static_cast<int>(recipe.resources.workers_per_node),
                                             static_cast<int>(recipe.resources.threads_per_worker), slice);
  const bool by_slurm =
      std::ranges::any_of(nodes, [](const Identity& node) { return !node.topology.empty(); });
  if (self == 0 && by_slurm) placement.notes = layout.notes;
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

bool uses_gpus(const recipes::Recipe& recipe, const topology::Machine& machine,
               const topology::MachinePlan& plan) {
  const auto& wanted = recipe.resources;
  const bool given = !plan.workers.empty() && plan.workers.front().gpu && !machine.captured;
  if (wanted.device == "gpu" && !given)
    fail_finally(
        "resources.device = gpu: this node has {} for {}; {}ask for them with resources.gres, or take auto",
        counted(machine.gpus.size(), "GPU"), counted(plan.workers.size(), "worker"),
        machine.gpus.empty() ? "" : "take fewer workers_per_node, ");
  return given && wanted.device != "cpu";
}

void require_net_devices(const topology::Machine& machine) {
  const char* wanted = std::getenv("UCX_NET_DEVICES");
  if (wanted == nullptr || machine.captured) return;
  std::set<std::string> present;
  add_interfaces("/sys/class/net", present);
  add_interfaces("/sys/class/infiniband", present);
  if (const auto problem = topology::net_device_problem(wanted, present)) throw Error(*problem);
}

}  // namespace stint::agent
