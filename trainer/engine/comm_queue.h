// SPDX-License-Identifier: Apache-2.0
// Communication beside computation: operations are done one after the other, in the order in which they were
// posted, by a thread of its own. What a rank posts, all post in the same order. Used by one thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#include "trainer/comm/communicator.h"

namespace stint::engine {

// Thrown where no value can be returned: out of the model, which waits for parameters.
struct CommFailure : std::exception {
  explicit CommFailure(comm::Status why) : status(std::move(why)) {}
  const char* what() const noexcept override { return status.detail.c_str(); }
  comm::Status status;
};

class CommQueue {
 public:
  using Operation = std::function<comm::Status()>;
  using Ticket = std::uint64_t;  // 0: nothing to wait for

  // Without a thread each operation is done as it is posted. `revoke`: what ends one that is under way, when
  // the queue is destroyed before it is empty.
  CommQueue(bool threaded, std::function<void()> revoke);
  ~CommQueue();
  CommQueue(const CommQueue&) = delete;
  CommQueue& operator=(const CommQueue&) = delete;

  // After a failure operations are dropped.
  Ticket post(Operation operation);
  // Until that one is done; the first failure of any.
  comm::Status wait(Ticket ticket);
  comm::Status wait_all() { return wait(posted_); }
  comm::Status run(Operation operation) { return wait(post(std::move(operation))); }
  // Its owner's, so far: communication that nothing was computed beside.
  double seconds_waited() const { return std::chrono::duration<double>(waited_).count(); }

 private:
  using Clock = std::chrono::steady_clock;

  void work(const std::stop_token& token);

  std::function<void()> revoke_;
  Ticket posted_ = 0;  // of the posting thread
  Clock::duration waited_{};
  std::mutex mutex_;
  std::condition_variable_any wake_worker_;
  std::condition_variable wake_waiter_;
  std::deque<Operation> queue_;
  Ticket done_ = 0;
  comm::Status failure_;
  std::jthread thread_;  // last: it uses all the others
};

}  // namespace stint::engine
