// SPDX-License-Identifier: Apache-2.0
// A libnvidia-ml.so.1 of three GPUs, one of which fell off the bus.
#include <cstdio>
#include <cstring>

namespace {

constexpr int kGpuIsLost = 15;
int open_sessions = 0;
int devices[3];

int number_of(const void* device) {
  return static_cast<int>(static_cast<const int*>(device) - devices);
}

struct Pci {
  char legacy[16];
  unsigned domain, bus, device, id, subsystem;
  char bus_id[32];
};
struct Fabric {
  unsigned char cluster[16];
  int status;
  unsigned clique;
  unsigned char state;
};

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

int nvmlInit_v2() {
  ++open_sessions;
  return 0;
}
int nvmlShutdown() {
  return --open_sessions == 0 ? 0 : 1;
}
int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 3;
  return open_sessions == 1 ? 0 : 1;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  *device = &devices[index];
  return index == 2 ? kGpuIsLost : 0;
}
int nvmlDeviceGetPciInfo_v3(void* device, Pci* info) {
  info->domain = number_of(device) == 0 ? 8 : 0;  // NVML's order need not be that of the addresses
  info->bus = 1;
  return 0;
}
int nvmlDeviceGetUUID(void* device, char* text, unsigned bytes) {
  std::snprintf(text, bytes, "%s", number_of(device) == 1 ? "GPU-one" : "GPU-eight");
  return 0;
}
int nvmlDeviceGetName(void*, char* text, unsigned bytes) {
  std::snprintf(text, bytes, "Fake");
  return 0;
}
int nvmlDeviceGetGpuFabricInfo(void* device, Fabric* fabric) {
  fabric->state = 3;
  fabric->clique = 7;
  for (unsigned char i = 0; number_of(device) == 1 && i < 16; ++i) fabric->cluster[i] = i + 1;
  return 0;
}
}
