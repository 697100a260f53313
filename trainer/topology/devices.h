// SPDX-License-Identifier: Apache-2.0
// What each worker of a node gets: cores, memory, a GPU and the network devices next to it. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "trainer/topology/binding.h"
#include "trainer/topology/machine.h"

namespace stint::topology {

struct WorkerDevices {
  std::optional<std::size_t> gpu;  // of the machine
  std::vector<std::size_t> nics;   // of the machine, the nearest first
  int numa = -1;                   // the NUMA node of its cores, logical; -1: several
};

struct MachinePlan {
  BindingPlan binding;
  std::vector<WorkerDevices> workers;  // by local rank
  std::vector<std::string> notes;      // for people; the binding's and the machine's among them
};

// Worker i takes the i-th of as many GPUs as there are workers, spread over all in PCI order, and cores of
// its NUMA node. RDMA devices, where one has a link, else Ethernet ones: each used as often as the others,
// then the sum of the distances the least possible; with more of them than workers each worker has several,
// the further ones only as near as its first. Throws Error as plan_binding does.
MachinePlan plan_machine(const Machine& machine, int workers, int threads_per_worker, Slice slice = {});

using Variables = std::vector<std::pair<std::string, std::string>>;
// CUDA_VISIBLE_DEVICES and, where there is RDMA, UCX_NET_DEVICES and NCCL_IB_HCA; those for which `is_set` is
// true are the user's own and are left alone.
Variables device_environment(const Machine& machine, const MachinePlan& plan, int local_rank,
                             bool (*is_set)(const char* variable));

// What is wrong with a value of UCX_NET_DEVICES on a machine with these devices; none: nothing that can be
// told.
std::optional<std::string> net_device_problem(const std::string& value, const std::set<std::string>& present);

// UCX's name of it: "mlx5_0:1".
std::string ucx_name(const Nic& nic);

}  // namespace stint::topology
