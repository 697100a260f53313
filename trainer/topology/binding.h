// SPDX-License-Identifier: Apache-2.0
// Which processors and memory each worker of a node may use. The plan is pure; apply_binding() may be called
// between fork and exec. No threads.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "trainer/topology/machine.h"

namespace stint::topology {

// Several nodes on one host (a lab) each take their slice of its cores.
struct Slice {
  int index = 0, count = 1;
};

struct BindingPlan {
  std::vector<std::vector<int>> cpus;              // by local rank, ascending
  std::vector<std::vector<unsigned long>> masks;   // the same, as the kernel wants them
  std::vector<std::vector<unsigned long>> memory;  // NUMA nodes by local rank; an empty one, or none: any
  int threads = 1;                                 // that each worker should run: one a core
  bool shared = false;  // workers share cores, with each other or with another slice
  std::string note;     // for people, when not all is as wished; else empty
};

// threads_per_worker 0: as many as there are cores for. Distinct cores, and within one NUMA node, where
// possible; with fewer cores than wished fewer threads; with fewer cores than workers, workers share. near:
// by local rank, the NUMA node whose cores a worker should have; empty: any. Throws Error on a nonsensical
// argument.
BindingPlan plan_binding(const std::vector<Core>& cores, int workers, int threads_per_worker,
                         Slice slice = {}, std::span<const int> near = {});

// As the kernel wants a set of processors or NUMA nodes.
std::vector<unsigned long> mask_of(const std::vector<int>& numbers);

// Binds the calling thread; 0 or an errno. Memory comes from the worker's NUMA node while it has some, else
// from elsewhere: rather a far page than none. Async-signal-safe. A rank that the plan does not have: EINVAL.
int apply_binding(const BindingPlan& plan, int local_rank) noexcept;

}  // namespace stint::topology
