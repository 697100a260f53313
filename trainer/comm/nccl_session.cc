// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/nccl_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace stint::comm {

using gpu::CudaError;
using gpu::NcclResult;

std::shared_ptr<NcclSession> NcclSession::start(std::shared_ptr<const gpu::Libraries> libraries, int device,
                                                NcclLimits limits) {
  std::shared_ptr<NcclSession> session(new NcclSession(std::move(libraries), device, std::move(limits)));
  // The keeper holds the session, which so outlives it also when it is left behind.
  session->keeper_ = std::thread([session] { session->keep(); });
  return session;
}

NcclSession::~NcclSession() {
  if (keeper_.joinable()) keeper_.detach();  // only the keeper itself comes here with it
}

std::size_t NcclSession::add_member(gpu::NcclComm* ready) {
  const std::lock_guard lock(calls_);
  members_.push_back({ready, ready != nullptr});
  return members_.size() - 1;
}

Status NcclSession::call(const NcclOperation& operation, const Body& body) {
  return until_taken(operation, operation.member, body);
}

Status NcclSession::await_ready(const NcclOperation& operation, std::size_t member) {
  Status status = until_taken(operation, member, [&] { return poll(members_[member]); });
  if (!status) return status;
  const std::lock_guard lock(calls_);
  members_[member].ready = true;
  return {};
}

Status NcclSession::until_taken(const NcclOperation& operation, std::size_t member, const Body& first) {
  NcclResult result{};
  NcclPause pause;
  for (bool begun = false;; begun = true) {
    {
      const std::unique_lock lock(calls_, operation.deadline);
      if (!lock) return fail(operation, too_late(operation, "NCCL still keeps the keeper busy"));
      if (!failure()) break;
      result = begun ? poll(members_[member]) : first();
    }
    if (result == NcclResult::kSuccess) return {};
    if (is_failure(result))
      return fail(operation, meaning_of(libraries_->nccl, result, operation.rank, operation.peer));
    if (Clock::now() >= operation.deadline)
      return fail(operation, too_late(operation, "NCCL still works on it"));
    pause();
  }
  return await_quiet();
}

void NcclSession::watch(std::shared_ptr<NcclOperation> operation) {
  {
    const std::lock_guard lock(state_);
    watched_.push_back(std::move(operation));
    if (watched_.size() > 1) return;
  }
  wake_.notify_one();
}

Status NcclSession::wait(const NcclOperation& operation) {
  NcclPause pause;
  for (;; pause()) {
    if (!failure()) return await_quiet();
    const CudaError error = libraries_->cuda.event_query(operation.done.get());
    if (error == CudaError::kSuccess) break;
    if (error != CudaError::kNotReady)
      return fail(operation, {Code::kPeerFailed, operation.rank, text_of(libraries_->cuda, error)});
    if (Clock::now() >= operation.deadline)
      return fail(operation, too_late(operation, "the GPU still waits"));
  }
  {
    const std::lock_guard lock(state_);
    std::erase_if(watched_, [&](const auto& watched) { return watched.get() == &operation; });
  }
  // What stands in the buffers may be what a broken connection or a revocation left there.
  return until_taken(operation, operation.member, [&] { return poll(members_[operation.member]); });
}

Status NcclSession::fail(const NcclOperation& operation, Status why) {
  note_failure(named(operation, std::move(why)));
  return await_quiet();
}

void NcclSession::revoke() {
  note_failure({Code::kRevoked, -1, "revoked"});
}

Status NcclSession::failure() const {
  const std::lock_guard lock(state_);
  return failure_;
}

bool NcclSession::stuck() const {
  const std::lock_guard lock(state_);
  return phase_ == Phase::kStuck;
}

void NcclSession::note_failure(Status why) {
  {
    const std::lock_guard lock(state_);
    if (!failure_) return;
    failure_ = std::move(why);
  }
  wake_.notify_one();
}

// Afterwards nothing of the view touches a buffer any more, unless it is stuck.
Status NcclSession::await_quiet() {
  std::unique_lock lock(state_);
  // The keeper may have to wait for a caller and then for the GPU.
  const bool came = changed_.wait_for(lock, 3 * limits_.grace, [&] { return phase_ != Phase::kWorking; });
  if (!came) {
    lock.unlock();
    set_stuck("NCCL does not come back from revoking");
    lock.lock();
  }
  return failure_;
}

void NcclSession::set_stuck(const char* why) {
  Status status;
  {
    const std::lock_guard lock(state_);
    if (phase_ == Phase::kStuck) return;
    phase_ = Phase::kStuck;
    const std::string added =
        fmt::format("{} within {} ms: this process must end", why, limits_.grace.count());
    failure_ = failure_ ? Status{Code::kTimeout, -1, added}
                        : Status{failure_.code, failure_.peer, failure_.detail + "; " + added};
    status = failure_;
  }
  changed_.notify_all();
  if (limits_.on_stuck) limits_.on_stuck(status);
}

bool NcclSession::on_keeper(std::chrono::milliseconds limit, std::function<void()> job) {
  std::unique_lock lock(state_);
  if (phase_ == Phase::kStuck) return false;
  job_ = std::move(job);
  job_done_ = false;
  wake_.notify_one();
  return changed_.wait_for(lock, limit, [&] { return job_done_; });
}

Status NcclSession::shrink(const NcclOperation& operation, std::vector<int> excluded, gpu::NcclComm** child) {
  revoke();
  if (Status status = await_quiet(); stuck()) return status;
  struct Outcome {
    NcclResult result = NcclResult::kInProgress;
    gpu::NcclComm* comm = nullptr;
  };
  const auto outcome = std::make_shared<Outcome>();
  const auto left = std::max(operation.deadline - Clock::now(), Clock::duration::zero());
  const auto limit = std::chrono::ceil<std::chrono::milliseconds>(left) + limits_.grace;
  const bool came = on_keeper(limit, [this, outcome, excluded, deadline = operation.deadline] {
    const std::lock_guard lock(calls_);
    Member& child = members_.emplace_back();  // stays there, to be aborted, if it does not become ready
    outcome->result = do_shrink(excluded, deadline, child);
    if (outcome->result == NcclResult::kSuccess) outcome->comm = std::exchange(child.comm, nullptr);
  });
  if (!came) {
    set_stuck("NCCL does not come back from shrinking");
    return failure();
  }
  if (outcome->result == NcclResult::kInProgress)
    return named(operation, too_late(operation, "NCCL still works on it"));
  if (is_failure(outcome->result))
    return named(operation, meaning_of(libraries_->nccl, outcome->result, operation.rank, operation.peer));
  *child = outcome->comm;
  return {};
}

void NcclSession::close(std::chrono::milliseconds timeout) {
  const bool came = on_keeper(timeout + limits_.grace, [this, timeout] {
    const std::lock_guard lock(calls_);
    if (failure()) finalize_all(Clock::now() + timeout);
    destroy_all();
  });
  if (!came) set_stuck("NCCL does not come back from closing");
  std::unique_lock lock(state_);
  stop_ = true;
  wake_.notify_one();
  const bool ended =
      changed_.wait_for(lock, limits_.grace, [&] { return ended_ || phase_ == Phase::kStuck; });
  lock.unlock();
  if (ended && !stuck())
    keeper_.join();
  else
    keeper_.detach();
}

}  // namespace stint::comm
