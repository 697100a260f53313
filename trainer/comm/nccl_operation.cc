// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/nccl_operation.h"

#include <fmt/format.h>
#include <sched.h>

#include <thread>

namespace stint::comm {
namespace {

constexpr int kYields = 200;
constexpr auto kNap = std::chrono::microseconds(50);

}  // namespace

using gpu::NcclResult;

bool is_failure(NcclResult result) {
  return result != NcclResult::kSuccess && result != NcclResult::kInProgress;
}

NcclResult until_polled(NcclResult result) {
  return result == NcclResult::kSuccess ? NcclResult::kInProgress : result;
}

Status meaning_of(const gpu::NcclFunctions& nccl, NcclResult result, int rank, int peer) {
  const bool remote = result == NcclResult::kRemoteError || result == NcclResult::kSystemError;
  const char* last = nccl.last_error(nullptr);
  return {Code::kPeerFailed, remote ? peer : rank,
          fmt::format("NCCL: {}{}{}", nccl.error_text(result), last != nullptr && *last != '\0' ? ": " : "",
                      last == nullptr ? "" : last)};
}

Status named(const NcclOperation& operation, Status why) {
  why.detail =
      fmt::format("{} {} in view {}: {}", operation.name, operation.number, operation.epoch, why.detail);
  return why;
}

Status too_late(const NcclOperation& operation, const char* what) {
  return {Code::kTimeout, operation.peer, fmt::format("{} at its deadline", what)};
}

void NcclPause::operator()() {
  if (turns_++ < kYields)
    sched_yield();
  else
    std::this_thread::sleep_for(kNap);
}

}  // namespace stint::comm
