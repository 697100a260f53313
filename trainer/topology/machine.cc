// SPDX-License-Identifier: Apache-2.0
#include "trainer/topology/machine.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace stint::topology {
namespace {

// "3" or "GPU-8f1c…", which may be cut short as long as it is unique.
bool names(const std::string& word, const Gpu& gpu) {
  if (word.starts_with("GPU-")) return !gpu.uuid.empty() && gpu.uuid.starts_with(word);
  return word == std::to_string(gpu.index);
}

void keep_visible(Machine& machine, const std::string& visible) {
  std::vector<Gpu> kept;
  for (const std::string& word : split(visible, ',')) {
    const auto found = std::ranges::find_if(machine.gpus, [&](const Gpu& gpu) { return names(word, gpu); });
    if (found == machine.gpus.end()) break;  // CUDA, too, stops at the first that it does not know
    kept.push_back(*found);
  }
  std::ranges::sort(kept, {}, &Gpu::index);
  if (kept.size() < machine.gpus.size())
    machine.notes.push_back(fmt::format("CUDA_VISIBLE_DEVICES={} leaves {} of {} GPUs", visible, kept.size(),
                                        machine.gpus.size()));
  machine.gpus = std::move(kept);
}

}  // namespace

Meeting meeting_of(const PciPlace& a, const PciPlace& b) {
  const auto apart = std::ranges::mismatch(a.bridges, b.bridges);
  const auto shared = apart.in1 - a.bridges.begin();
  if (shared > 1) return Meeting::kPciSwitch;
  if (shared == 1) return Meeting::kHostBridge;
  if (a.numa >= 0 && a.numa == b.numa) return Meeting::kNumaNode;
  if (a.package >= 0 && a.package == b.package) return Meeting::kPackage;
  return Meeting::kMachine;
}

const char* name_of(Meeting meeting) {
  switch (meeting) {
    case Meeting::kPciSwitch:
      return "same PCI switch";
    case Meeting::kHostBridge:
      return "same host bridge";
    case Meeting::kNumaNode:
      return "same NUMA node";
    case Meeting::kPackage:
      return "same package";
    case Meeting::kMachine:
      break;
  }
  return "across the machine";
}

std::string nvlink_domain_of(const Machine& machine) {
  if (machine.gpus.empty()) return {};
  const std::string& first = machine.gpus.front().nvlink_domain;
  const bool same =
      std::ranges::all_of(machine.gpus, [&](const Gpu& gpu) { return gpu.nvlink_domain == first; });
  return same ? first : std::string();
}

void keep_usable_gpus(Machine& machine, const std::vector<DriverGpu>& driver,
                      const std::optional<std::string>& visible) {
  const std::size_t seen = machine.gpus.size();
  if (!driver.empty() || !machine.captured) {
    std::vector<Gpu> kept;
    for (const DriverGpu& known : driver) {
      const auto found = std::ranges::find(machine.gpus, known.address, &Gpu::address);
      Gpu gpu = found == machine.gpus.end() ? Gpu{} : *found;
      gpu.address = known.address;
      gpu.uuid = known.uuid;
      gpu.nvlink_domain = known.nvlink_domain;
      if (!known.model.empty()) gpu.model = known.model;
      kept.push_back(std::move(gpu));
    }
    machine.gpus = std::move(kept);
  }
  for (std::size_t i = 0; i < machine.gpus.size(); ++i) machine.gpus[i].index = static_cast<int>(i);
  if (machine.gpus.empty() && seen > 0)
    machine.notes.push_back(fmt::format(
        "{} NVIDIA {} on the PCI bus, but the driver shows none to this job (no --gres, or no driver)", seen,
        seen == 1 ? "GPU" : "GPUs"));
  if (visible) keep_visible(machine, *visible);
}

}  // namespace stint::topology
