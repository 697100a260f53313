// SPDX-License-Identifier: Apache-2.0
// Every call to NCCL of one view goes through here, so that its rules hold whatever the caller does:
//   - communicators are non-blocking: a call is over when ncclCommGetAsyncError says so, or its deadline has
//   come;
//   - one thread at a time is inside NCCL, and from the first failure on only the keeper;
//   - the keeper, a thread, watches what was enqueued. On an error or a deadline missed it revokes all
//   communicators
//     of the view; only when all are quiet may one be destroyed or shrunk;
//   - what may hang its caller (revoke, shrink, finalize, destroy, abort) is the keeper's; others wait for it
//   with a
//     limit, and leave it behind when it does not come back. Then the session is stuck and the process must
//     end;
//   - a result counts only if NCCL reports no error after it was there.
// The first failure is that of the whole view. Knows nothing of what the collectives do.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "trainer/comm/nccl_operation.h"

namespace stint::comm {

struct NcclLimits {
  std::chrono::milliseconds grace;              // for NCCL to let go, before it counts as stuck
  std::function<void(const Status&)> on_stuck;  // on the keeper or a caller: ends the process
};

// A mutex that is waited for up to a limit. std::timed_mutex is one that gcc 12's thread sanitizer does not
// know.
class PatientMutex {
 public:
  void lock() { try_lock_until(std::chrono::steady_clock::time_point::max()); }
  bool try_lock() { return try_lock_until(std::chrono::steady_clock::time_point::min()); }
  bool try_lock_until(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    if (!free_.wait_until(lock, deadline, [&] { return !taken_; })) return false;
    return taken_ = true;
  }
  void unlock() {
    {
      const std::lock_guard lock(mutex_);
      taken_ = false;
    }
    free_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable free_;
  bool taken_ = false;
};

class NcclSession : public std::enable_shared_from_this<NcclSession> {
 public:
  using Clock = NcclOperation::Clock;
  using Body = std::function<gpu::NcclResult()>;

  static std::shared_ptr<NcclSession> start(std::shared_ptr<const gpu::Libraries> libraries, int device,
                                            NcclLimits limits);
  ~NcclSession();

  // --- The view's one thread.
  // A place for one more communicator, for NCCL to write into, also late.
  std::size_t add_member(gpu::NcclComm* ready = nullptr);
  gpu::NcclComm* comm(std::size_t member) const { return members_[member].comm; }
  gpu::NcclComm** place(std::size_t member) { return &members_[member].comm; }
  // Until the body's call on the operation's member is over.
  Status call(const NcclOperation& operation, const Body& body);
  // Until a new communicator can be used.
  Status await_ready(const NcclOperation& operation, std::size_t member);
  // The keeper looks after it from here on.
  void watch(std::shared_ptr<NcclOperation> operation);
  Status wait(const NcclOperation& operation);
  Status fail(const NcclOperation& operation, Status why);
  // The communicator without the `excluded` ranks of member 0, whose owner is the caller, in *child.
  Status shrink(const NcclOperation& operation, std::vector<int> excluded, gpu::NcclComm** child);
  // Ends all communicators and the keeper. Then only destruction is left.
  void close(std::chrono::milliseconds timeout);

  // --- Any thread.
  void revoke();
  Status failure() const;
  bool stuck() const;

 private:
  enum class Phase { kWorking, kQuiet, kStuck };
  struct Member {
    gpu::NcclComm* comm = nullptr;
    bool ready = false, revoked = false, finalized = false, spoilt = false;
  };

  NcclSession(std::shared_ptr<const gpu::Libraries> libraries, int device, NcclLimits limits)
      : libraries_(std::move(libraries)), device_(device), limits_(std::move(limits)) {}

  Status until_taken(const NcclOperation& operation, std::size_t member, const Body& first);
  void note_failure(Status why);
  Status await_quiet();
  void set_stuck(const char* why);
  bool on_keeper(std::chrono::milliseconds limit, std::function<void()> job);

  // The keeper's; those that call NCCL hold calls_.
  void keep();
  void look_after();
  bool ask_for_errors();
  void revoke_all();
  gpu::NcclResult poll(const Member& member) const;
  gpu::NcclResult settle(const Member& member, gpu::NcclResult result, Clock::time_point deadline) const;
  gpu::NcclResult do_shrink(std::vector<int> excluded, Clock::time_point deadline, Member& child);
  void finalize_all(Clock::time_point deadline);
  void destroy_all();

  const std::shared_ptr<const gpu::Libraries> libraries_;
  const int device_;
  const NcclLimits limits_;
  std::thread keeper_;

  PatientMutex calls_;          // around every call to NCCL; taken before state_
  std::deque<Member> members_;  // grows only: NCCL keeps pointers into it

  mutable std::mutex state_;
  std::condition_variable wake_, changed_;  // the keeper; who waits for it
  Status failure_;
  Phase phase_ = Phase::kWorking;
  std::vector<std::shared_ptr<NcclOperation>> watched_;
  std::function<void()> job_;
  bool job_done_ = false, stop_ = false, ended_ = false;
};

}  // namespace stint::comm
