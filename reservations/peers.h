// SPDX-License-Identifier: Apache-2.0
// What the HTTP server knows of its clients' addresses: how many connections of each it serves at present,
// and how much was logged of each. Knows no sockets. Safe from several threads.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace stint::reservations {

// The share of one address in the connections that are served at once.
class PeerQuota {
 public:
  explicit PeerQuota(int threads);

  // One connection, for as long as it is served.
  class Place {
   public:
    Place(PeerQuota& quota, std::string address);
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    bool within() const { return within_; }  // the address's share

   private:
    PeerQuota& quota_;
    std::string address_;
    bool within_ = false;
  };

 private:
  std::size_t share_;
  std::mutex mutex_;
  std::map<std::string, std::size_t> served_;
};

// Keeps one address from filling the log: of what it is refused so many lines are written in a while, the
// rest is counted.
class LogQuota {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t kLines = 60;  // in a while
  static constexpr std::chrono::seconds kWhile{10};

  struct Verdict {
    bool write = false;
    bool last = false;        // the next ones are counted only
    std::size_t counted = 0;  // not written before this one, since the last that was
  };
  Verdict ask(const std::string& address, Clock::time_point now);

 private:
  struct Entry {
    Clock::time_point since{};
    std::size_t lines = 0, counted = 0;
  };

  std::mutex mutex_;
  std::map<std::string, Entry> entries_;
};

}  // namespace stint::reservations
