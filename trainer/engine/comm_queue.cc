// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/comm_queue.h"

#include <omp.h>

namespace stint::engine {

using comm::Status;

CommQueue::CommQueue(bool threaded, std::function<void()> revoke) : revoke_(std::move(revoke)) {
  if (threaded) thread_ = std::jthread([this](const std::stop_token& token) { work(token); });
}

CommQueue::~CommQueue() {
  if (!thread_.joinable()) return;
  bool idle = false;
  {
    const std::lock_guard lock(mutex_);
    queue_.clear();
    idle = done_ == posted_ || !failure_;
  }
  if (!idle) revoke_();
  thread_.request_stop();
}

CommQueue::Ticket CommQueue::post(Operation operation) {
  ++posted_;
  if (!thread_.joinable()) {
    const auto begin = Clock::now();
    if (failure_) failure_ = operation();
    waited_ += Clock::now() - begin;
    done_ = posted_;
    return posted_;
  }
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(operation));
  }
  wake_worker_.notify_one();
  return posted_;
}

Status CommQueue::wait(Ticket ticket) {
  const auto begin = Clock::now();
  std::unique_lock lock(mutex_);
  wake_waiter_.wait(lock, [&] { return done_ >= ticket; });
  waited_ += Clock::now() - begin;
  return failure_;
}

void CommQueue::work(const std::stop_token& token) {
  omp_set_num_threads(1);  // for what it does of the mathematics: the pool is the computation's
  std::unique_lock lock(mutex_);
  while (wake_worker_.wait(lock, token, [&] { return !queue_.empty(); })) {
    const Operation operation = std::move(queue_.front());
    queue_.pop_front();
    Status status = failure_;
    if (status) {
      lock.unlock();
      status = operation();
      lock.lock();
    }
    failure_ = std::move(status);
    ++done_;
    wake_waiter_.notify_all();
  }
}

}  // namespace stint::engine
