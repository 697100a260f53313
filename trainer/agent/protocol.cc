// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/protocol.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "base/error.h"

namespace stint::agent {
namespace {

constexpr std::size_t kMaxMessage = 1 << 20;
// Linux gives half of what is asked for to the payload; a view of thousands of ranks must fit in one
// datagram.
constexpr int kBufferBytes = 4 << 20;
constexpr int kSendTimeoutSeconds = 10;

using Clock = std::chrono::steady_clock;

bool peer_is_gone(int number) {
  return number == EPIPE || number == ECONNRESET || number == ENOTCONN || number == ECONNREFUSED;
}

void enlarge_buffers(int descriptor) {
  for (const int option : {SO_SNDBUF, SO_RCVBUF}) {
    // The forced form passes net.core.wmem_max where the process may; the plain one takes what it gets.
    const int forced = option == SO_SNDBUF ? SO_SNDBUFFORCE : SO_RCVBUFFORCE;
    if (setsockopt(descriptor, SOL_SOCKET, forced, &kBufferBytes, sizeof kBufferBytes) != 0) {
      setsockopt(descriptor, SOL_SOCKET, option, &kBufferBytes, sizeof kBufferBytes);
    }
  }
}

// False: nothing came before the deadline.
bool wait_readable(int descriptor, Clock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd entry{descriptor, POLLIN, 0};
    const int n = poll(&entry, 1, static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1 << 30)));
    if (n > 0) return true;
    if (n == 0) return false;
    if (errno != EINTR) fail("agent channel: poll: {}", errno_text(errno));
  }
}

// The size of the datagram that waits, without taking it; 0: the other side is gone; -1: none.
ssize_t next_size(int descriptor) {
  while (true) {
    const ssize_t n = recv(descriptor, nullptr, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
    if (n >= 0) return n;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return -1;
    if (peer_is_gone(errno)) return 0;
    if (errno != EINTR) fail("agent channel: receive: {}", errno_text(errno));
  }
}

}  // namespace

Channel& Channel::operator=(Channel&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

Channel::~Channel() {
  if (descriptor_ >= 0) close(descriptor_);
}

std::pair<Channel, Channel> Channel::make_pair() {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    fail("agent channel: socketpair: {}", errno_text(errno));
  }
  for (const int descriptor : pair) {
    enlarge_buffers(descriptor);
    const timeval timeout{kSendTimeoutSeconds, 0};
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  }
  return {Channel(pair[0]), Channel(pair[1])};
}

bool Channel::send(const nlohmann::json& message) {
  const std::string text = message.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() > kMaxMessage) {
    fail("agent channel: a message of {} bytes, at most {} fit", text.size(), kMaxMessage);
  }
  while (::send(descriptor_, text.data(), text.size(), MSG_NOSIGNAL) < 0) {
    if (peer_is_gone(errno)) return false;
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      fail("agent channel: the other side has read nothing for {} s", kSendTimeoutSeconds);
    }
    if (errno == EMSGSIZE) {
      fail("agent channel: a message of {} bytes does not fit the socket's buffer; raise net.core.wmem_max",
           text.size());
    }
    if (errno != EINTR) fail("agent channel: send: {}", errno_text(errno));
  }
  return true;
}

Channel::Received Channel::receive(std::chrono::milliseconds timeout) {
  if (!wait_readable(descriptor_, Clock::now() + timeout)) return {};
  const ssize_t size = next_size(descriptor_);
  if (size < 0) return {};
  if (size == 0) return {.closed = true, .message = std::nullopt};
  if (static_cast<std::size_t>(size) > kMaxMessage) {
    fail("agent channel: a message of {} bytes came, at most {} are allowed", size, kMaxMessage);
  }
  std::string text(static_cast<std::size_t>(size), '\0');
  if (recv(descriptor_, text.data(), text.size(), MSG_DONTWAIT) != size) {
    fail("agent channel: a message changed while it was read");
  }
  auto message = nlohmann::json::parse(text, nullptr, false);
  if (!message.is_object()) fail("agent channel: what came is no JSON object");
  return {.closed = false, .message = std::move(message)};
}

}  // namespace stint::agent
