// SPDX-License-Identifier: Apache-2.0
// One node as the trainer sees it: its cores, GPUs and network devices and how near they are to each other.
// read_machine() asks hwloc and, where there are NVIDIA GPUs, their driver; the rest is pure. No threads.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace stint::topology {

struct Core {
  int numa = 0;           // hwloc's logical number of its NUMA node
  std::vector<int> cpus;  // the operating system's numbers of its hardware threads that we may use
  bool operator==(const Core&) const = default;
};

// Where a device hangs; -1: not known.
struct PciPlace {
  std::vector<int> bridges;  // above it, the host bridge first; equal numbers are the same bridge
  int numa = -1;             // logical, as Core's
  int package = -1;
};

// What two devices meet at, near first.
enum class Meeting { kPciSwitch, kHostBridge, kNumaNode, kPackage, kMachine };
Meeting meeting_of(const PciPlace& a, const PciPlace& b);
const char* name_of(Meeting meeting);

struct Gpu {
  std::string address;  // "0000:1b:00.0"
  std::string model;
  PciPlace place;
  int index = 0;     // in PCI order among those that we may use
  std::string uuid;  // "GPU-…"; empty: the driver was not asked
  std::string
      nvlink_domain;  // GPUs of all nodes with the same one share NVLink; empty: none beyond this node
};

struct Nic {
  std::string device;     // "mlx5_0", or the interface of one that has no RDMA
  std::string interface;  // "ib0"; may be empty
  std::string address;
  PciPlace place;
  bool rdma = false;
  std::vector<int> ports;  // that have a link
};

struct Machine {
  std::string cpu_model;  // may be empty
  std::vector<Core> cores;
  std::vector<int> numa_nodes;  // the operating system's numbers, by logical number
  std::vector<int> packages;    // the package of each, by logical number
  std::vector<Gpu> gpus;        // in PCI order
  std::vector<Nic> nics;        // in PCI order
  bool captured = false;        // HWLOC_XMLFILE or HWLOC_SYNTHETIC describe another one than this
  std::vector<std::string> notes;
};

// The cores that this process may use, neighbours side by side; honours the process's affinity and cgroup,
// CUDA_VISIBLE_DEVICES, and hwloc's own environment. Throws Error when hwloc cannot read the machine.
Machine read_machine();

// What the driver of the GPUs tells of one; the library is NVML.
struct DriverGpu {
  std::string address, uuid, model, nvlink_domain;
};
// Those that this process may use, in PCI order; none: there is no such library, or it finds no driver. Call
// while there is one thread only.
std::vector<DriverGpu> read_gpu_driver(const char* library = "libnvidia-ml.so.1");
// Keeps the GPUs that the driver has and that `visible` (CUDA_VISIBLE_DEVICES; none: not set) names.
void keep_usable_gpus(Machine& machine, const std::vector<DriverGpu>& driver,
                      const std::optional<std::string>& visible);

// That of all its GPUs; empty: there is none.
std::string nvlink_domain_of(const Machine& machine);

}  // namespace stint::topology
