// SPDX-License-Identifier: Apache-2.0
// A small epoll loop: one handler a descriptor, level-triggered. One thread.
#pragma once

#include <chrono>
#include <functional>
#include <map>

namespace stint::agent {

class EventLoop {
 public:
  EventLoop();  // throws Error
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // `on_readable` is called whenever the descriptor is readable or closed at the other end.
  void add(int descriptor, std::function<void()> on_readable);
  // Safe within a handler, also for its own descriptor. Call before the descriptor is closed.
  void remove(int descriptor);
  // Waits for at most `timeout` and calls the handlers of what is ready.
  void turn(std::chrono::milliseconds timeout);

 private:
  int epoll_ = -1;
  std::map<int, std::function<void()>> handlers_;
};

}  // namespace stint::agent
