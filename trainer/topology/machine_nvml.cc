// SPDX-License-Identifier: Apache-2.0
// The one file that knows NVML, by the stable part of its binary interface; loaded at run time.
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>

#include "trainer/topology/machine.h"

namespace stint::topology {
namespace {

// Of nvml.h; the layout of a released structure never changes.
using Device = struct NvmlDevice*;
struct PciInfo {
  char legacy_bus_id[16];
  unsigned domain, bus, device, pci_device_id, subsystem_id;
  char bus_id[32];
};
struct FabricInfo {
  std::array<unsigned char, 16> cluster_uuid;
  int status;
  unsigned clique_id;
  unsigned char state;
};
constexpr unsigned char kFabricCompleted = 3;
constexpr int kSuccess = 0;
constexpr unsigned kUuidBytes = 96;

struct LibraryCloser {
  void operator()(void* library) const { dlclose(library); }
};

class Nvml {
 public:
  explicit Nvml(const char* library) : library_(dlopen(library, RTLD_NOW | RTLD_LOCAL)) {
    if (library_ == nullptr) return;
    find("nvmlDeviceGetCount_v2", count_);
    find("nvmlDeviceGetHandleByIndex_v2", handle_);
    find("nvmlDeviceGetPciInfo_v3", pci_);
    find("nvmlDeviceGetUUID", uuid_);
    find("nvmlDeviceGetName", name_);
    find("nvmlDeviceGetGpuFabricInfo", fabric_);
    find("nvmlShutdown", shutdown_);
    int (*init)() = nullptr;
    find("nvmlInit_v2", init);
    up_ = init != nullptr && count_ != nullptr && handle_ != nullptr && pci_ != nullptr && uuid_ != nullptr &&
          shutdown_ != nullptr && init() == kSuccess;
  }
  ~Nvml() {
    if (up_) shutdown_();
  }
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  std::vector<DriverGpu> gpus() const {
    std::vector<DriverGpu> found;
    unsigned count = 0;
    if (!up_ || count_(&count) != kSuccess) return found;
    for (unsigned index = 0; index < count; ++index) {
      Device device = nullptr;
      PciInfo pci{};
      std::array<char, kUuidBytes> uuid{}, name{};
      // One that fell off the bus has a number still, and is of no use.
      if (handle_(index, &device) != kSuccess || pci_(device, &pci) != kSuccess ||
          uuid_(device, uuid.data(), kUuidBytes) != kSuccess)
        continue;
      if (name_ != nullptr) name_(device, name.data(), kUuidBytes);
      found.push_back({fmt::format("{:04x}:{:02x}:{:02x}.0", pci.domain, pci.bus, pci.device), uuid.data(),
                       name.data(), nvlink_domain(device)});
    }
    std::ranges::sort(found, {}, &DriverGpu::address);
    return found;
  }

 private:
  template <typename Function>
  void find(const char* symbol, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library_.get(), symbol));
  }

  // "cluster.clique". A fabric within one node has a cluster of zeros.
  std::string nvlink_domain(Device device) const {
    FabricInfo info{};
    if (fabric_ == nullptr || fabric_(device, &info) != kSuccess || info.state != kFabricCompleted ||
        info.status != kSuccess ||
        std::ranges::all_of(info.cluster_uuid, [](unsigned char c) { return c == 0; }))
      return {};
    return fmt::format("{:02x}.{}", fmt::join(info.cluster_uuid, ""), info.clique_id);
  }

  std::unique_ptr<void, LibraryCloser> library_;
  int (*count_)(unsigned*) = nullptr;
  int (*handle_)(unsigned, Device*) = nullptr;
  int (*pci_)(Device, PciInfo*) = nullptr;
  int (*uuid_)(Device, char*, unsigned) = nullptr;
  int (*name_)(Device, char*, unsigned) = nullptr;
  int (*fabric_)(Device, FabricInfo*) = nullptr;
  int (*shutdown_)() = nullptr;
  bool up_ = false;
};

}  // namespace

std::vector<DriverGpu> read_gpu_driver(const char* library) {
  return Nvml(library).gpus();
}

}  // namespace stint::topology
