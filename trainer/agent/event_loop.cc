// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/event_loop.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.h"

namespace stint::agent {

EventLoop::EventLoop() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  if (epoll_ < 0) fail("event loop: {}", errno_text(errno));
}

EventLoop::~EventLoop() {
  close(epoll_);
}

void EventLoop::add(int descriptor, std::function<void()> on_readable) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = descriptor;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event) != 0) fail("event loop: {}", errno_text(errno));
  handlers_[descriptor] = std::move(on_readable);
}

void EventLoop::remove(int descriptor) {
  if (handlers_.erase(descriptor) > 0) epoll_ctl(epoll_, EPOLL_CTL_DEL, descriptor, nullptr);
}

void EventLoop::turn(std::chrono::milliseconds timeout) {
  std::array<epoll_event, 64> ready;
  const int n = epoll_wait(epoll_, ready.data(), ready.size(), static_cast<int>(timeout.count()));
  if (n < 0 && errno != EINTR) fail("event loop: {}", errno_text(errno));
  for (int i = 0; i < n; ++i) {
    const auto found = handlers_.find(ready[static_cast<std::size_t>(i)].data.fd);
    if (found == handlers_.end()) continue;  // removed by a handler before it
    const auto handler = found->second;      // a copy: it may remove itself
    handler();
  }
}

}  // namespace stint::agent
