// SPDX-License-Identifier: Apache-2.0
// One piece of work for NCCL, and what to say when it fails.
#pragma once

#include <chrono>
#include <cstdint>

#include "trainer/comm/communicator.h"
#include "trainer/comm/gpu_handles.h"

namespace stint::comm {

// One call or collective, from its beginning to its end.
struct NcclOperation {
  using Clock = std::chrono::steady_clock;

  const char* name;
  std::uint32_t number;
  std::uint32_t epoch;
  std::size_t member;  // of the session
  int rank;            // ours in it
  int peer;            // the rank that it waits for, where that is one; else -1
  Clock::time_point deadline;
  gpu::Event done{nullptr, {nullptr}};  // on the stream, behind all that was enqueued
  Status status = {};                   // of enqueuing
};

bool is_failure(gpu::NcclResult result);
// What split and shrink return: success also while they have only begun.
gpu::NcclResult until_polled(gpu::NcclResult result);
// Blames `peer` for what came over the network, and this rank's GPU or program for the rest.
Status meaning_of(const gpu::NcclFunctions& nccl, gpu::NcclResult result, int rank, int peer);
Status too_late(const NcclOperation& operation, const char* what);
// The same, with the operation's name before it.
Status named(const NcclOperation& operation, Status why);

// Between two polls: at first the work is likely to be done at once, later others want the core.
class NcclPause {
 public:
  void operator()();

 private:
  int turns_ = 0;
};

}  // namespace stint::comm
