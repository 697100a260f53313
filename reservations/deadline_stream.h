// SPDX-License-Identifier: Apache-2.0
// A client's connection as cpp-httplib's server reads and writes it, with one deadline for a whole request
// and one for a whole reply: its own time-outs begin anew with each byte, so a client that sends a byte now
// and then would hold a thread for ever. Used by one thread.
#pragma once

#include <httplib.h>

#include <array>
#include <chrono>
#include <functional>
#include <string>

namespace stint::reservations {

class DeadlineStream : public httplib::Stream {
 public:
  using Clock = std::chrono::steady_clock;

  explicit DeadlineStream(socket_t socket);  // does not own it

  const std::string& peer() const { return peer_; }  // its address, as of the beginning; empty: it is gone

  // Waits for the first byte of a request, no longer than `idle` and while `go_on`; false: none came. From
  // then on the request has `request` to come and its reply `reply` to go. False also once a request was
  // late.
  bool await_request(std::chrono::milliseconds idle, std::chrono::milliseconds request,
                     std::chrono::milliseconds reply, const std::function<bool()>& go_on);

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* data, std::size_t size) override;
  ssize_t write(const char* data, std::size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  bool wait(short events, Clock::time_point deadline) const;
  bool refill();

  socket_t socket_;
  std::string peer_;
  int peer_port_ = 0;
  Clock::time_point read_by_{}, write_by_{};
  std::chrono::milliseconds reply_{};
  bool late_ = false;
  std::array<char, 4096> buffer_{};
  std::size_t begin_ = 0, end_ = 0;  // of what was received and not yet read
};

}  // namespace stint::reservations
