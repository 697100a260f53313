// SPDX-License-Identifier: Apache-2.0
// The one file that knows hwloc.
#include <fmt/format.h>
#include <hwloc.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <memory>

#include "base/error.h"
#include "trainer/topology/machine.h"

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

constexpr unsigned short kNvidia = 0x10de;
constexpr unsigned kDisplayClass = 0x03;  // the upper byte of a PCI class
constexpr char kActivePort[] = "4";       // IBV_PORT_ACTIVE
constexpr int kMaxPorts = 4;

[[noreturn]] void refuse(int number) {
  fail("binding: hwloc cannot read this machine: {}; see HWLOC_SYNTHETIC and HWLOC_XMLFILE if they are set",
       errno_text(number));
}

// hwloc's optional components open X displays and OpenCL platforms, which takes long and starts threads.
void leave_out(hwloc_topology_t topology) {
  for (const char* component : {"gl", "opencl", "cuda", "nvml", "rsmi", "levelzero"})
    hwloc_topology_set_components(topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, component);
}

Topology load() {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) refuse(errno);
  Topology topology(raw);
  leave_out(raw);
  hwloc_topology_set_io_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
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

int numa_of(hwloc_topology_t topology, hwloc_obj_t object) {
  const int first = object->nodeset == nullptr ? -1 : hwloc_bitmap_first(object->nodeset);
  const hwloc_obj_t node =
      first < 0 ? nullptr : hwloc_get_numanode_obj_by_os_index(topology, static_cast<unsigned>(first));
  return node == nullptr ? 0 : static_cast<int>(node->logical_index);
}

std::vector<Core> read_cores(hwloc_topology_t topology) {
  const Bitmap allowed = allowed_in(topology);
  const Bitmap usable(hwloc_bitmap_alloc());
  const int depth = hwloc_get_type_or_below_depth(topology, HWLOC_OBJ_CORE);
  std::vector<Core> cores;
  for (hwloc_obj_t object = nullptr;
       (object = hwloc_get_next_obj_by_depth(topology, depth, object)) != nullptr;) {
    hwloc_bitmap_and(usable.get(), object->cpuset, allowed.get());
    Core core{numa_of(topology, object), {}};
    for (int cpu = -1; (cpu = hwloc_bitmap_next(usable.get(), cpu)) >= 0;) core.cpus.push_back(cpu);
    if (!core.cpus.empty()) cores.push_back(std::move(core));
  }
  if (cores.empty()) fail("binding: hwloc finds no processor that this process may use");
  return cores;
}

int package_of(hwloc_topology_t topology, hwloc_obj_t object) {
  if (object->type != HWLOC_OBJ_PACKAGE)
    object = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_PACKAGE, object);
  return object == nullptr ? -1 : static_cast<int>(object->logical_index);
}

void read_numa_nodes(hwloc_topology_t topology, Machine& machine) {
  for (hwloc_obj_t node = nullptr;
       (node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node)) != nullptr;) {
    machine.numa_nodes.push_back(static_cast<int>(node->os_index));
    machine.packages.push_back(package_of(topology, node));
  }
}

std::string cpu_model(hwloc_topology_t topology) {
  std::vector<std::string> models;
  for (hwloc_obj_t package = nullptr;
       (package = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PACKAGE, package)) != nullptr;) {
    const char* model = hwloc_obj_get_info_by_name(package, "CPUModel");
    if (model != nullptr && std::ranges::find(models, model) == models.end()) models.emplace_back(model);
  }
  return fmt::format("{}", fmt::join(models, " + "));
}

PciPlace place_of(hwloc_topology_t topology, hwloc_obj_t device) {
  PciPlace place;
  for (hwloc_obj_t above = device->parent; above != nullptr; above = above->parent)
    if (above->type == HWLOC_OBJ_BRIDGE) place.bridges.push_back(static_cast<int>(above->logical_index));
  std::ranges::reverse(place.bridges);
  const hwloc_obj_t locality = hwloc_get_non_io_ancestor_obj(topology, device);
  if (locality->nodeset != nullptr && hwloc_bitmap_weight(locality->nodeset) == 1)
    place.numa = numa_of(topology, locality);
  place.package = package_of(topology, locality);
  return place;
}

std::string address_of(hwloc_obj_t device) {
  const auto& pci = device->attr->pcidev;
  return fmt::format("{:04x}:{:02x}:{:02x}.{:x}", pci.domain, pci.bus, pci.dev, pci.func);
}

std::string info_of(hwloc_obj_t object, const std::string& key) {
  const char* value = hwloc_obj_get_info_by_name(object, key.c_str());
  return value == nullptr ? "" : value;
}

bool has_link(hwloc_topology_t topology, const std::string& interface) {
  if (hwloc_topology_is_thissystem(topology) == 0) return true;
  std::ifstream file("/sys/class/net/" + interface + "/operstate");
  std::string state;
  return !(file >> state) || state != "down";
}

std::vector<int> active_ports(hwloc_obj_t device) {
  std::vector<int> active;
  bool told = false;
  for (int port = 1; port <= kMaxPorts; ++port) {
    const std::string state = info_of(device, fmt::format("Port{}State", port));
    told = told || !state.empty();
    if (state == kActivePort) active.push_back(port);
  }
  return told ? active : std::vector<int>{1};
}

hwloc_obj_t os_device(hwloc_obj_t pci, hwloc_obj_osdev_type_t type, hwloc_obj_t after = nullptr) {
  for (hwloc_obj_t child = after == nullptr ? pci->io_first_child : after->next_sibling; child != nullptr;
       child = child->next_sibling)
    if (child->type == HWLOC_OBJ_OS_DEVICE && child->attr->osdev.type == type) return child;
  return nullptr;
}

void read_nics(hwloc_topology_t topology, hwloc_obj_t pci, Machine& machine) {
  hwloc_obj_t network = os_device(pci, HWLOC_OBJ_OSDEV_NETWORK);
  const std::string interface = network == nullptr ? "" : network->name;
  const PciPlace place = place_of(topology, pci);
  bool any = false;
  for (hwloc_obj_t rdma = nullptr; (rdma = os_device(pci, HWLOC_OBJ_OSDEV_OPENFABRICS, rdma)) != nullptr;
       any = true)
    machine.nics.push_back({rdma->name, interface, address_of(pci), place, true, active_ports(rdma)});
  for (; network != nullptr && !any; network = os_device(pci, HWLOC_OBJ_OSDEV_NETWORK, network)) {
    const std::vector<int> ports(has_link(topology, network->name) ? 1 : 0, 1);
    machine.nics.push_back({network->name, network->name, address_of(pci), place, false, ports});
  }
}

void read_devices(hwloc_topology_t topology, Machine& machine) {
  for (hwloc_obj_t pci = nullptr; (pci = hwloc_get_next_pcidev(topology, pci)) != nullptr;) {
    const auto& attributes = pci->attr->pcidev;
    if (attributes.vendor_id == kNvidia && attributes.class_id >> 8 == kDisplayClass)
      machine.gpus.push_back({address_of(pci),
                              pci->name == nullptr ? info_of(pci, "PCIDevice") : pci->name,
                              place_of(topology, pci),
                              0,
                              {},
                              {}});
    read_nics(topology, pci, machine);
  }
  std::ranges::sort(machine.gpus, {}, &Gpu::address);
  std::ranges::stable_sort(machine.nics, {}, &Nic::address);
}

}  // namespace

Machine read_machine() {
  const Topology topology = load();
  Machine machine;
  machine.captured = hwloc_topology_is_thissystem(topology.get()) == 0;
  machine.cores = read_cores(topology.get());
  read_numa_nodes(topology.get(), machine);
  machine.cpu_model = cpu_model(topology.get());
  read_devices(topology.get(), machine);
  if (machine.gpus.empty()) return machine;
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  keep_usable_gpus(machine, machine.captured ? std::vector<DriverGpu>() : read_gpu_driver(),
                   visible == nullptr ? std::nullopt : std::optional<std::string>(visible));
  return machine;
}

}  // namespace stint::topology
