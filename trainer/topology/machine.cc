// SPDX-License-Identifier: Apache-2.0
// The one file that knows hwloc.
#include <hwloc.h>

#include <cerrno>
#include <memory>

#include "base/error.h"
#include "trainer/topology/binding.h"

namespace stint::topology {
namespace {

struct TopologyDeleter {
  void operator()(hwloc_topology* topology) const { hwloc_topology_destroy(topology); }
};
struct BitmapDeleter {
  void operator()(hwloc_bitmap_s* bitmap) const { hwloc_bitmap_free(bitmap); }
};
using Topology = std::unique_ptr<hwloc_topology, TopologyDeleter>;
using Bitmap = std::unique_ptr<hwloc_bitmap_s, BitmapDeleter>;

[[noreturn]] void refuse(int number) {
  fail("binding: hwloc cannot read this machine: {}; see HWLOC_SYNTHETIC and HWLOC_XMLFILE if they are set",
       errno_text(number));
}

Topology load() {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) refuse(errno);
  Topology topology(raw);
  if (hwloc_topology_load(raw) != 0) refuse(errno);
  return topology;
}

// hwloc leaves out what the cgroup forbids; the affinity we were started with is ours to ask.
Bitmap allowed_in(hwloc_topology_t topology) {
  Bitmap allowed(hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(topology)));
  const Bitmap bound(hwloc_bitmap_alloc());
  if (hwloc_topology_is_thissystem(topology) != 0 &&
      hwloc_get_cpubind(topology, bound.get(), HWLOC_CPUBIND_PROCESS) == 0)
    hwloc_bitmap_and(allowed.get(), allowed.get(), bound.get());
  return allowed;
}

int numa_of(hwloc_topology_t topology, hwloc_obj_t core) {
  const int first = core->nodeset == nullptr ? -1 : hwloc_bitmap_first(core->nodeset);
  const hwloc_obj_t node =
      first < 0 ? nullptr : hwloc_get_numanode_obj_by_os_index(topology, static_cast<unsigned>(first));
  return node == nullptr ? 0 : static_cast<int>(node->logical_index);
}

}  // namespace

std::vector<Core> read_machine() {
  const Topology topology = load();
  const Bitmap allowed = allowed_in(topology.get());
  const Bitmap usable(hwloc_bitmap_alloc());
  const int depth = hwloc_get_type_or_below_depth(topology.get(), HWLOC_OBJ_CORE);
  std::vector<Core> cores;
  for (hwloc_obj_t object = nullptr;
       (object = hwloc_get_next_obj_by_depth(topology.get(), depth, object)) != nullptr;) {
    hwloc_bitmap_and(usable.get(), object->cpuset, allowed.get());
    Core core{numa_of(topology.get(), object), {}};
    for (int cpu = -1; (cpu = hwloc_bitmap_next(usable.get(), cpu)) >= 0;) core.cpus.push_back(cpu);
    if (!core.cpus.empty()) cores.push_back(std::move(core));
  }
  if (cores.empty()) fail("binding: hwloc finds no processor that this process may use");
  return cores;
}

}  // namespace stint::topology
