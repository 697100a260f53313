// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/topology_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "base/error.h"
#include "base/ini.h"
#include "trainer/topology/failure_domains.h"

namespace stint::agent {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxBytes = 64 << 20;

// "0-13,112".
std::string ranges(const std::vector<int>& sorted) {
  std::string text;
  for (std::size_t i = 0; i < sorted.size();) {
    std::size_t last = i;
    while (last + 1 < sorted.size() && sorted[last + 1] == sorted[last] + 1) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ",", sorted[i]);
    if (last > i) text += fmt::format("-{}", sorted[last]);
    i = last + 1;
  }
  return text;
}

const char* name_of(Layout::Source source) {
  switch (source) {
    case Layout::Source::kSlurm:
      return "slurm";
    case Layout::Source::kMeasured:
      return "measured";
    case Layout::Source::kNames:
      break;
  }
  return "names";
}

json describe_nic(const topology::Machine& machine, const topology::WorkerDevices& worker,
                  std::size_t index) {
  const topology::Nic& nic = machine.nics[index];
  json described{{"device", topology::ucx_name(nic)}, {"address", nic.address}, {"interface", nic.interface}};
  if (worker.gpu)
    described["meets_gpu_at"] =
        topology::name_of(topology::meeting_of(machine.gpus[*worker.gpu].place, nic.place));
  else if (worker.numa >= 0 && nic.place.numa >= 0)
    described["beside_cores"] = worker.numa == nic.place.numa;
  return described;
}

json describe_worker(const topology::Machine& machine, const topology::MachinePlan& plan, std::size_t local) {
  const topology::WorkerDevices& worker = plan.workers[local];
  json described{{"cpus", ranges(plan.binding.cpus[local])}, {"nics", json::array()}};
  if (worker.numa >= 0) described["numa"] = worker.numa;
  if (worker.gpu) {
    const topology::Gpu& gpu = machine.gpus[*worker.gpu];
    described["gpu"] = {
        {"index", gpu.index}, {"model", gpu.model}, {"address", gpu.address}, {"uuid", gpu.uuid}};
  }
  for (const std::size_t nic : worker.nics) described["nics"].push_back(describe_nic(machine, worker, nic));
  return described;
}

json describe_ring(const Layout& layout) {
  json names = json::array();
  for (const std::size_t node : layout.order) names.push_back(layout.places[node].name);
  std::vector<std::size_t> by_name(layout.places.size());
  std::iota(by_name.begin(), by_name.end(), std::size_t{0});
  std::ranges::sort(by_name, topology::natural_less,
                    [&](std::size_t node) { return layout.places[node].name; });
  std::set<std::optional<std::vector<std::string>>> leaves;
  for (const auto& place : layout.places) leaves.insert(topology::switches_of(place));
  return {{"order", names},
          {"crossings", topology::leaf_crossings(layout.places, layout.order)},
          {"fewest_crossings", leaves.size() < 2 ? 0 : leaves.size()},
          {"crossings_by_name", topology::leaf_crossings(layout.places, by_name)}};
}

json describe_nodes(const TopologyFacts& facts) {
  json nodes = json::array();
  const auto domains = topology::domains_of(facts.layout.places);
  for (const std::size_t node : facts.layout.order) {
    const std::size_t buddy = facts.layout.buddies[node];
    json described = facts.machines[node].is_object() ? facts.machines[node] : json::object();
    described["name"] = facts.nodes[node].node;
    described["host"] = facts.nodes[node].host;
    described["domains"] = domains[node] ? json(*domains[node]) : json();
    described["buddy"] = facts.nodes[buddy].node;
    described["buddy_apart"] = buddy != node && domains[node] != domains[buddy];
    int local = 0;
    if (described.contains("workers"))
      for (json& worker : described["workers"]) worker["rank"] = facts.ranks.rank_of({node, local++});
    nodes.push_back(std::move(described));
  }
  return nodes;
}

std::set<std::string> devices_of(const json& node) {
  std::set<std::string> names;
  const auto found = node.find("nics");
  if (found != node.end() && found->is_array())
    for (const json& nic : *found)
      if (nic.is_string()) names.insert(nic.get<std::string>());
  return names;
}

std::map<std::string, std::set<std::string>> devices_by_node(const json& record) {
  std::map<std::string, std::set<std::string>> devices;
  const auto nodes = record.is_object() ? record.find("nodes") : record.end();
  if (!record.is_object() || nodes == record.end() || !nodes->is_array()) return devices;
  for (const json& node : *nodes)
    if (node.is_object() && node.contains("name") && node["name"].is_string())
      devices[node["name"].get<std::string>()] = devices_of(node);
  return devices;
}

std::string lacks(const std::string& node, const std::vector<std::string>& gone, const char* who) {
  return fmt::format(
      "{}: {} {}, and {} not here now: the node trains at the pace of what is left; see dmesg and the "
      "cables, or drain it: scontrol update nodename={} state=drain reason=NIC",
      node, fmt::join(gone, ", "), who, gone.size() == 1 ? "is" : "are", node);
}

}  // namespace

json describe(const topology::Machine& machine, const topology::MachinePlan& plan) {
  json described{
      {"cpu", machine.cpu_model}, {"gpus", machine.gpus.size()}, {"shares_cores", plan.binding.shared},
      {"notes", plan.notes},      {"nics", json::array()},       {"workers", json::array()}};
  for (const topology::Nic& nic : machine.nics)
    if (nic.rdma && !nic.ports.empty()) described["nics"].push_back(nic.device);
  for (std::size_t local = 0; local < plan.workers.size(); ++local)
    described["workers"].push_back(describe_worker(machine, plan, local));
  return described;
}

json topology_record(const TopologyFacts& facts) {
  json record = facts.run;
  record["version"] = 1;
  record["written"] = unix_seconds();
  record["world"] = facts.ranks.size();
  record["source"] = name_of(facts.layout.source);
  record["ring"] = describe_ring(facts.layout);
  record["notes"] = facts.layout.notes;
  record["nodes"] = describe_nodes(facts);
  record["exposed_buddies"] = topology::exposed(facts.layout.places, facts.layout.buddies);
  if (facts.shard_degree > 1 && facts.ranks.size() % facts.shard_degree == 0) {
    const auto groups = topology::shard_groups(facts.ranks, facts.layout.places, facts.shard_degree);
    record["shards"] = {{"degree", facts.shard_degree}, {"groups", groups.shards.size()}};
    if (!groups.note.empty() && groups.shards.size() > 1) record["notes"].push_back(groups.note);
  }
  if (!facts.times.empty()) record["round_trips_us"] = facts.times;
  return record;
}

std::vector<std::string> missing_devices(const json& record, const json& last) {
  const auto now = devices_by_node(record), before = devices_by_node(last);
  std::map<std::string, std::size_t> owners;
  for (const auto& [node, devices] : now)
    for (const std::string& device : devices) ++owners[device];
  std::vector<std::string> notes;
  for (const auto& [node, devices] : now) {
    std::vector<std::string> vanished, usual;
    const auto known = before.find(node);
    if (known != before.end())
      std::ranges::set_difference(known->second, devices, std::back_inserter(vanished));
    for (const auto& [device, count] : owners)
      if (2 * count > now.size() && !devices.contains(device)) usual.push_back(device);
    if (!vanished.empty())
      notes.push_back(lacks(node, vanished, "had a link at the run's last start"));
    else if (!usual.empty())
      notes.push_back(lacks(node, usual, "has a link on most other nodes"));
  }
  return notes;
}

json read_topology(const RunDirectory& run) {
  try {
    auto record = json::parse(read_file(run.topology(), kMaxBytes), nullptr, false);
    return record.is_object() ? record : json();
  } catch (const Error&) {
    return {};
  }
}

}  // namespace stint::agent
