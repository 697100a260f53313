// SPDX-License-Identifier: Apache-2.0
#include "reservations/deadline_stream.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace stint::reservations {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLookInterval{100};  // between two looks at go_on

using NameOf = int (*)(int, sockaddr*, socklen_t*);

void name_end(socket_t socket, NameOf name_of, std::string& ip, int& port) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> service{};
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (name_of(socket, generic, &length) != 0) return;
  if (::getnameinfo(generic, length, host.data(), host.size(), service.data(), service.size(),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return;
  ip = host.data();
  port = std::atoi(service.data());
}

}  // namespace

DeadlineStream::DeadlineStream(socket_t socket) : socket_(socket) {
  name_end(socket_, ::getpeername, peer_, peer_port_);
}

bool DeadlineStream::wait(short events, Clock::time_point deadline) const {
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now()).count();
    pollfd entry{socket_, events, 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(std::clamp<std::int64_t>(left, 0, 1 << 20)));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

bool DeadlineStream::await_request(milliseconds idle, milliseconds request, milliseconds reply,
                                   const std::function<bool()>& go_on) {
  if (late_) return false;
  const auto deadline = Clock::now() + idle;
  bool came = begin_ < end_;
  while (!came && go_on() && Clock::now() < deadline)
    came = wait(POLLIN, std::min(deadline, Clock::now() + kLookInterval));
  read_by_ = Clock::now() + request;
  write_by_ = {};
  reply_ = reply;
  return came;
}

bool DeadlineStream::is_readable() const {
  return begin_ < end_ || wait(POLLIN, read_by_);
}

bool DeadlineStream::is_writable() const {
  return wait(POLLOUT, write_by_ == Clock::time_point{} ? Clock::now() + reply_ : write_by_);
}

bool DeadlineStream::refill() {
  // Not later than the deadline even where bytes wait: their sender had its time.
  late_ = late_ || Clock::now() > read_by_ || !wait(POLLIN, read_by_);
  if (late_) return false;
  ssize_t got;
  do {
    got = ::recv(socket_, buffer_.data(), buffer_.size(), 0);
  } while (got < 0 && errno == EINTR);
  begin_ = 0;
  end_ = got > 0 ? static_cast<std::size_t>(got) : 0;
  return got > 0;
}

ssize_t DeadlineStream::read(char* data, std::size_t size) {
  if (begin_ == end_ && !refill()) return -1;
  const std::size_t part = std::min(size, end_ - begin_);
  std::memcpy(data, buffer_.data() + begin_, part);
  begin_ += part;
  return static_cast<ssize_t>(part);
}

ssize_t DeadlineStream::write(const char* data, std::size_t size) {
  if (write_by_ == Clock::time_point{}) write_by_ = Clock::now() + reply_;
  if (Clock::now() > write_by_ || !wait(POLLOUT, write_by_)) return -1;
  ssize_t put;
  do {
    put = ::send(socket_, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (put < 0 && errno == EINTR);
  return put;
}

void DeadlineStream::get_remote_ip_and_port(std::string& ip, int& port) const {
  ip = peer_;
  port = peer_port_;
}

void DeadlineStream::get_local_ip_and_port(std::string& ip, int& port) const {
  name_end(socket_, ::getsockname, ip, port);
}

}  // namespace stint::reservations
