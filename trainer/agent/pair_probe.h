// SPDX-License-Identifier: Apache-2.0
// How long a small message takes from this node to each other one and back. Every agent asks in turn and
// answers the others meanwhile; bounded in time, and what gets lost is left out. One thread.
#pragma once

#include <netinet/in.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "trainer/agent/peers.h"

namespace stint::agent {

class PairProbe {
 public:
  using Clock = std::chrono::steady_clock;

  PairProbe();  // throws Error
  ~PairProbe();
  PairProbe(const PairProbe&) = delete;
  PairProbe& operator=(const PairProbe&) = delete;

  int descriptor() const { return descriptor_; }
  std::uint16_t port() const { return port_; }

  // targets: the nodes to ask, by index in `all`.
  void begin(const std::vector<Identity>& all, std::size_t self, const std::vector<std::size_t>& targets,
             Clock::time_point now);
  // Reads and answers what waits, and asks on. Call whenever the descriptor is readable, and often.
  void turn(Clock::time_point now);
  bool done() const { return begun_ && question_ >= order_.size(); }
  // The shortest of each, in microseconds by node; 0: not asked, or no answer.
  const std::vector<double>& round_trips() const { return best_; }

 private:
  struct Message;
  struct Peer {
    std::uint64_t nonce = 0;
    std::vector<sockaddr_in> candidates;
  };
  void ask(Clock::time_point now);
  void take(const Message& message, const sockaddr_in& from, Clock::time_point now);
  void put(const Message& message, const sockaddr_in& to) const;

  int descriptor_ = -1;
  std::uint16_t port_ = 0;
  bool begun_ = false;
  std::size_t self_ = 0;
  std::vector<Peer> peers_;
  std::vector<std::size_t> order_;  // whom to ask, one question after the other
  std::size_t question_ = 0;
  bool waiting_ = false;
  Clock::time_point give_up_{}, deadline_{};
  std::vector<double> best_;
};

}  // namespace stint::agent
