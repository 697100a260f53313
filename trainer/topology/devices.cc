// SPDX-License-Identifier: Apache-2.0
#include "trainer/topology/devices.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/text.h"
#include "trainer/topology/assignment.h"

namespace stint::topology {
namespace {

// Of the second worker on one device: more than any sum of distances.
constexpr int kAgain = 100'000;

int distance(const PciPlace& a, const PciPlace& b) {
  const auto apart = std::ranges::mismatch(a.bridges, b.bridges);
  const auto hops = (a.bridges.end() - apart.in1) + (b.bridges.end() - apart.in2);
  const Meeting meeting = meeting_of(a, b);
  constexpr int kLevel = 100;  // more than any number of bridges
  return static_cast<int>(meeting) * kLevel +
         (meeting <= Meeting::kHostBridge ? static_cast<int>(std::min<std::ptrdiff_t>(hops, kLevel - 1)) : 0);
}

std::vector<std::size_t> choose_gpus(const Machine& machine, std::size_t workers, Slice slice,
                                     std::vector<std::string>& notes) {
  const std::size_t total = machine.gpus.size(), count = static_cast<std::size_t>(slice.count);
  const std::size_t index = static_cast<std::size_t>(slice.index);
  const std::size_t begin = index * total / count, mine = (index + 1) * total / count - begin;
  if (total == 0) return {};
  if (mine < workers) {
    notes.push_back(
        fmt::format("{} {} for {} workers: no worker is given one; set resources.workers_per_node={}", mine,
                    mine == 1 ? "GPU" : "GPUs", workers, std::max<std::size_t>(mine, 1)));
    return {};
  }
  std::vector<std::size_t> chosen;
  for (std::size_t worker = 0; worker < workers; ++worker) chosen.push_back(begin + worker * mine / workers);
  if (mine > workers)
    notes.push_back(fmt::format("{} workers leave {} of {} GPUs idle; set resources.workers_per_node={}",
                                workers, mine - workers, mine, mine));
  return chosen;
}

std::vector<int> numa_nodes_of(const Machine& machine, const BindingPlan& binding) {
  std::map<int, int> numa_of_cpu;
  for (const Core& core : machine.cores)
    for (const int cpu : core.cpus) numa_of_cpu[cpu] = core.numa;
  std::vector<int> nodes;
  for (const auto& cpus : binding.cpus) {
    std::set<int> own;
    for (const int cpu : cpus) own.insert(numa_of_cpu.at(cpu));
    nodes.push_back(own.size() == 1 ? *own.begin() : -1);
  }
  return nodes;
}

void bind_memory(const Machine& machine, MachinePlan& plan) {
  if (machine.numa_nodes.size() < 2) return;
  for (const WorkerDevices& worker : plan.workers) {
    const auto numa = static_cast<std::size_t>(worker.numa);
    const bool known = worker.numa >= 0 && numa < machine.numa_nodes.size();
    plan.binding.memory.push_back(known ? mask_of({machine.numa_nodes[numa]}) : std::vector<unsigned long>());
  }
}

std::vector<std::size_t> usable_nics(const Machine& machine, std::vector<std::string>& notes) {
  std::vector<std::size_t> rdma, ethernet;
  for (std::size_t i = 0; i < machine.nics.size(); ++i) {
    const Nic& nic = machine.nics[i];
    if (!nic.ports.empty()) (nic.rdma ? rdma : ethernet).push_back(i);
    if (nic.ports.empty() && nic.rdma)
      notes.push_back(
          fmt::format("{} ({}) has no link and is not used; see its cable and its switch port, and "
                      "ibstat",
                      nic.device, nic.address));
  }
  return rdma.empty() ? ethernet : rdma;
}

PciPlace place_of(const Machine& machine, const WorkerDevices& worker) {
  if (worker.gpu) return machine.gpus[*worker.gpu].place;
  PciPlace place;
  place.numa = worker.numa;
  if (worker.numa >= 0 && static_cast<std::size_t>(worker.numa) < machine.packages.size())
    place.package = machine.packages[static_cast<std::size_t>(worker.numa)];
  return place;
}

class NicShares {
 public:
  NicShares(const Machine& machine, std::vector<WorkerDevices>& workers, std::vector<std::size_t> nics)
      : machine_(machine), workers_(workers), free_(std::move(nics)) {}

  void share() {
    const std::size_t rounds = free_.size() / workers_.size();
    give(rounds == 0 ? (workers_.size() + free_.size() - 1) / free_.size() : 1, true);
    for (std::size_t round = 1; round < rounds; ++round) give(1, false);
  }

 private:
  int distance_to(std::size_t worker, std::size_t nic) const {
    return distance(place_of(machine_, workers_[worker]), machine_.nics[nic].place);
  }

  void give(std::size_t copies, bool first) {
    std::vector<std::vector<int>> cost(workers_.size());
    for (std::size_t worker = 0; worker < workers_.size(); ++worker)
      for (std::size_t copy = 0; copy < copies; ++copy)
        for (const std::size_t nic : free_)
          cost[worker].push_back(distance_to(worker, nic) + static_cast<int>(copy) * kAgain);
    const auto columns = assign(cost);
    std::set<std::size_t> taken;
    for (std::size_t worker = 0; worker < workers_.size(); ++worker) {
      const std::size_t nic = free_[columns[worker] % free_.size()];
      auto& own = workers_[worker].nics;
      if (!first && distance_to(worker, nic) > distance_to(worker, own.front())) continue;
      own.push_back(nic);
      taken.insert(nic);
    }
    std::erase_if(free_, [&](std::size_t nic) { return taken.contains(nic); });
  }

  const Machine& machine_;
  std::vector<WorkerDevices>& workers_;
  std::vector<std::size_t> free_;
};

}  // namespace

MachinePlan plan_machine(const Machine& machine, int workers, int threads_per_worker, Slice slice) {
  MachinePlan plan;
  plan.notes = machine.notes;
  const auto gpus = choose_gpus(machine, static_cast<std::size_t>(std::max(workers, 0)), slice, plan.notes);
  std::vector<int> near;
  for (const std::size_t gpu : gpus) near.push_back(machine.gpus[gpu].place.numa);
  if (std::ranges::find(near, -1) != near.end()) near.clear();  // a board that does not tell
  plan.binding = plan_binding(machine.cores, workers, threads_per_worker, slice, near);
  const auto numa = numa_nodes_of(machine, plan.binding);
  for (std::size_t worker = 0; worker < numa.size(); ++worker) {
    plan.workers.push_back({gpus.empty() ? std::nullopt : std::optional(gpus[worker]), {}, numa[worker]});
  }
  bind_memory(machine, plan);
  if (auto nics = usable_nics(machine, plan.notes); !nics.empty())
    NicShares(machine, plan.workers, std::move(nics)).share();
  if (!plan.binding.note.empty()) plan.notes.push_back(plan.binding.note);
  return plan;
}

std::optional<std::string> net_device_problem(const std::string& value,
                                              const std::set<std::string>& present) {
  if (value.find_first_of("^*") != std::string::npos) return std::nullopt;
  for (const std::string& word : split(value, ',')) {
    if (word.empty() || word == "all" || present.contains(word.substr(0, word.find(':')))) continue;
    return fmt::format(
        "UCX_NET_DEVICES names {}, which this node does not have (it has {}); unset it, or drain the node if "
        "the "
        "device should be there",
        word, fmt::join(present, ", "));
  }
  return std::nullopt;
}

std::string ucx_name(const Nic& nic) {
  return nic.rdma ? fmt::format("{}:{}", nic.device, nic.ports.empty() ? 1 : nic.ports.front()) : nic.device;
}

Variables device_environment(const Machine& machine, const MachinePlan& plan, int local_rank,
                             bool (*is_set)(const char* variable)) {
  Variables variables;
  const WorkerDevices& worker = plan.workers.at(static_cast<std::size_t>(local_rank));
  if (worker.gpu) {
    const Gpu& gpu = machine.gpus[*worker.gpu];
    variables.emplace_back("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
    variables.emplace_back("CUDA_VISIBLE_DEVICES", gpu.uuid.empty() ? std::to_string(gpu.index) : gpu.uuid);
  }
  // An Ethernet device is no free choice: which of them reach the other nodes is the routing table's to say.
  std::vector<std::string> own;
  std::set<std::size_t> all;
  for (const std::size_t nic : worker.nics)
    if (machine.nics[nic].rdma) own.push_back(ucx_name(machine.nics[nic]));
  for (const WorkerDevices& other : plan.workers) all.insert(other.nics.begin(), other.nics.end());
  if (own.empty()) return variables;
  if (!is_set("UCX_NET_DEVICES"))
    variables.emplace_back("UCX_NET_DEVICES", fmt::format("{}", fmt::join(own, ",")));
  // NCCL numbers the devices of a node alike in all its processes and takes the nearest by itself: it is told
  // which ones the job uses, and by "=" that the names are whole.
  std::vector<std::string> used;
  for (const std::size_t nic : all) used.push_back(ucx_name(machine.nics[nic]));
  if (!is_set("NCCL_IB_HCA")) variables.emplace_back("NCCL_IB_HCA", fmt::format("={}", fmt::join(used, ",")));
  return variables;
}

}  // namespace stint::topology
