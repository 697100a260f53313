// SPDX-License-Identifier: Apache-2.0
// What the stand-in's halves share: one lock for everything, the faults, and the streams.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/unit/comm/nccl_shim/nccl_shim.h"

namespace stint::comm::nccl_shim {

using Lock = std::unique_lock<std::mutex>;

struct Faults {
  int polls = 0;
  int microseconds = 0;
  struct Report {
    int after;
    gpu::NcclResult result;
    bool ends;
  };
  std::map<int, int> hangs;       // device: after so many pieces
  std::map<int, Report> reports;  // device
  std::set<int> deaf, untaken;    // devices
  std::set<std::pair<std::string, int>> hanging_calls;
  int devices = 64;
  int version = 22809;
};

struct Shim {
  std::mutex mutex;
  std::condition_variable changed;
  Faults faults;
  unsigned generation = 0;  // of reset(): what waits in an older one goes on
  std::map<std::string, int> calls;
  std::map<int, int> under_way;  // by device
};

Shim& shim();
int this_device();
[[noreturn]] void broken(const char* rule, const std::string& culprit);

}  // namespace stint::comm::nccl_shim

namespace stint::comm::gpu {

struct CudaStream {
  using Task = std::function<void(nccl_shim::Lock&)>;
  int device = 0;
  std::deque<Task> tasks;
  int not_taken = 0;  // collectives that NCCL has not put here yet
  bool gate_open = true, closing = false;

  // Both under the lock; a null stream does at once what it is given.
  static void push(CudaStream* stream, const std::string& culprit, Task task, nccl_shim::Lock& lock);
  void queue(Task task);
};

}  // namespace stint::comm::gpu
