// SPDX-License-Identifier: Apache-2.0
// The keeper's half of a session: it watches, revokes, shrinks and ends communicators.
#include <algorithm>
#include <utility>

#include "trainer/comm/nccl_session.h"

namespace stint::comm {

using gpu::CudaError;
using gpu::NcclResult;

namespace {
constexpr auto kLook = std::chrono::milliseconds(2);  // between two looks at what is under way
}

void NcclSession::keep() {
  static_cast<void>(libraries_->cuda.set_device(device_));
  std::unique_lock lock(state_);
  for (;;) {
    const auto to_revoke = [&] { return !failure_ && phase_ == Phase::kWorking; };
    const auto called = [&] { return to_revoke() || job_ || stop_; };
    if (watched_.empty() || phase_ != Phase::kWorking)
      wake_.wait(lock, [&] { return called() || (phase_ == Phase::kWorking && !watched_.empty()); });
    else
      wake_.wait_for(lock, kLook, called);
    const bool revoking = to_revoke();
    const auto job = revoking ? std::function<void()>() : std::exchange(job_, nullptr);
    if (!revoking && !job && stop_) break;
    const bool looking = phase_ == Phase::kWorking;
    lock.unlock();
    if (revoking)
      revoke_all();
    else if (job)
      job();
    else if (looking)
      look_after();
    lock.lock();
    if (job) job_done_ = true;
    changed_.notify_all();
  }
  ended_ = true;
  changed_.notify_all();
}

void NcclSession::look_after() {
  if (!ask_for_errors()) return;
  std::vector<std::shared_ptr<NcclOperation>> watched;
  {
    const std::lock_guard lock(state_);
    watched = watched_;
  }
  for (const auto& operation : watched) {
    const CudaError error = libraries_->cuda.event_query(operation->done.get());
    if (error == CudaError::kSuccess) {
      const std::lock_guard lock(state_);
      std::erase(watched_, operation);
    } else if (error != CudaError::kNotReady) {
      return note_failure(
          named(*operation, {Code::kPeerFailed, operation->rank, text_of(libraries_->cuda, error)}));
    } else if (Clock::now() >= operation->deadline) {
      return note_failure(named(*operation, too_late(*operation, "the GPU still waits")));
    }
  }
}

// False if there was one, or if a caller is inside NCCL; it will see for itself, or be found by its deadline.
bool NcclSession::ask_for_errors() {
  const std::unique_lock lock(calls_, std::try_to_lock);
  if (!lock) return true;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (!members_[i].ready) continue;
    const NcclResult result = poll(members_[i]);
    if (!is_failure(result)) continue;
    const std::lock_guard state(state_);
    const auto found =
        std::ranges::find(watched_, i, [](const auto& operation) { return operation->member; });
    const auto operation = found == watched_.end() ? nullptr : *found;
    if (!failure_) return false;
    failure_ =
        operation == nullptr
            ? meaning_of(libraries_->nccl, result, -1, -1)
            : named(*operation, meaning_of(libraries_->nccl, result, operation->rank, operation->peer));
    return false;
  }
  return true;
}

void NcclSession::revoke_all() {
  const std::unique_lock lock(calls_, Clock::now() + limits_.grace);
  if (!lock) return set_stuck("a thread does not come back from NCCL");
  for (Member& member : members_) {
    if (!member.ready) continue;
    member.revoked = true;
    member.spoilt = is_failure(libraries_->nccl.revoke(member.comm, gpu::kNcclRevokeDefault));
  }
  const auto deadline = Clock::now() + limits_.grace;
  for (Member& member : members_) {
    if (!member.revoked) continue;
    const NcclResult result = settle(member, NcclResult::kInProgress, deadline);
    if (result == NcclResult::kInProgress) return set_stuck("the GPU does not let go of what was revoked");
    member.spoilt = member.spoilt || is_failure(result);
  }
  const std::lock_guard state(state_);
  watched_.clear();
  if (phase_ == Phase::kWorking) phase_ = Phase::kQuiet;
}

NcclResult NcclSession::poll(const Member& member) const {
  NcclResult state{};
  const NcclResult asked = libraries_->nccl.async_error(member.comm, &state);
  return asked == NcclResult::kSuccess ? state : asked;
}

NcclResult NcclSession::settle(const Member& member, NcclResult result, Clock::time_point deadline) const {
  for (NcclPause pause; result == NcclResult::kInProgress && Clock::now() < deadline; pause())
    result = poll(member);
  return result;
}

NcclResult NcclSession::do_shrink(std::vector<int> excluded, Clock::time_point deadline, Member& child) {
  Member& parent = members_.front();
  gpu::NcclConfig config;
  config.blocking = 0;
  NcclResult result =
      until_polled(libraries_->nccl.shrink(parent.comm, excluded.data(), static_cast<int>(excluded.size()),
                                           &child.comm, &config, gpu::kNcclShrinkDefault));
  result = settle(parent, result, deadline);
  if (result == NcclResult::kInProgress) parent.spoilt = true;  // aborting it gives up the child too
  if (result != NcclResult::kSuccess) return result;
  return settle(child, NcclResult::kInProgress, deadline);
}

void NcclSession::finalize_all(Clock::time_point deadline) {
  for (Member& member : members_)
    if (member.ready) member.spoilt = is_failure(libraries_->nccl.finalize(member.comm));
  for (Member& member : members_)
    if (member.ready && !member.spoilt)
      member.finalized = settle(member, NcclResult::kInProgress, deadline) == NcclResult::kSuccess;
}

// In one group, so that NCCL is told to give up on all of them before it waits for any.
void NcclSession::destroy_all() {
  const auto& nccl = libraries_->nccl;
  static_cast<void>(nccl.group_start());
  for (Member& member : members_) {
    gpu::NcclComm* comm = std::exchange(member.comm, nullptr);
    if (comm == nullptr) continue;
    const bool in_order = !member.spoilt && (member.finalized || member.revoked);
    static_cast<void>(in_order ? nccl.destroy(comm) : nccl.abort(comm));
    member.ready = false;
  }
  static_cast<void>(nccl.group_end());
}

}  // namespace stint::comm
