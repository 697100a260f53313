// SPDX-License-Identifier: Apache-2.0
// Which processors each worker of a node may use. read_machine() asks hwloc; the plan is pure;
// apply_binding() may be called between fork and exec. No threads.
#pragma once

#include <string>
#include <vector>

namespace stint::topology {

struct Core {
  int numa = 0;           // hwloc's logical number of its NUMA node
  std::vector<int> cpus;  // the operating system's numbers of its hardware threads that we may use
  bool operator==(const Core&) const = default;
};

// The cores that this process may use, neighbours side by side. Honours the process's affinity and cgroup,
// and hwloc's own environment (HWLOC_SYNTHETIC, HWLOC_XMLFILE). Throws Error when hwloc cannot read the
// machine.
std::vector<Core> read_machine();

// Several nodes on one host (a lab) each take their slice of its cores.
struct Slice {
  int index = 0, count = 1;
};

struct BindingPlan {
  std::vector<std::vector<int>> cpus;             // by local rank, ascending
  std::vector<std::vector<unsigned long>> masks;  // the same, as the kernel wants them
  int threads = 1;                                // that each worker should run: one a core
  bool shared = false;  // workers share cores, with each other or with another slice
  std::string note;     // for people, when not all is as wished; else empty
};

// threads_per_worker 0: as many as there are cores for. Distinct cores, and within one NUMA node, where
// possible; with fewer cores than wished fewer threads; with fewer cores than workers, workers share. Throws
// Error on a nonsensical argument.
BindingPlan plan_binding(const std::vector<Core>& cores, int workers, int threads_per_worker,
                         Slice slice = {});

// Binds the calling thread; 0 or an errno. Async-signal-safe. A rank that the plan does not have: EINVAL.
int apply_binding(const BindingPlan& plan, int local_rank) noexcept;

}  // namespace stint::topology
