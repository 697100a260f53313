// SPDX-License-Identifier: Apache-2.0
// The other agents of the step as this one sees them: where they are, who is alive, who left and how. Sends
// and reads heartbeats; decides nothing. One thread.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "trainer/agent/heartbeat.h"
#include "trainer/agent/liveness.h"

namespace stint::agent {

// What an agent publishes of itself: kind "agent" of the rendezvous.
struct Identity {
  std::string node;
  std::string host;
  std::string topology;  // as in Setup
  std::string topology_pattern;
  std::vector<std::string> addresses;  // IPv4, dotted
  std::uint16_t port = 0;
  std::uint64_t nonce = 0;
  std::uint16_t probe_port = 0;  // answers there how long a message takes
  std::string nvlink_domain{};   // of its GPUs; may be empty
  std::string cpu_model{};       // may be empty
};
// Where `peer` may be reached from `self`, the likeliest first.
std::vector<sockaddr_in> candidates_for(const Identity& peer, const Identity& self, std::uint16_t port);
nlohmann::json to_json(const Identity& identity);
Identity parse_identity(const nlohmann::json& json);  // throws Error

struct HeartbeatTimes {
  std::chrono::milliseconds interval, timeout, first_timeout;
};

class Peers {
 public:
  using Clock = std::chrono::steady_clock;

  // all: by index in the step's node list, `self` among them.
  Peers(BeatSocket& socket, const std::vector<Identity>& all, std::size_t self, std::uint32_t epoch,
        HeartbeatTimes times, Clock::time_point now);

  struct Left {
    std::size_t node;
    int exit_code;
  };
  struct News {
    std::vector<Left> left;  // each peer once
    bool stop_asked = false;
  };
  // Reads every datagram that waits. Call before turn().
  News read(Clock::time_point now);
  // Sends a heartbeat when one is due; returns the peers that have been silent for too long.
  std::vector<std::size_t> turn(BeatState state, Clock::time_point now);
  // The last words: says so to everyone, more than once since datagrams get lost.
  void leave(int exit_code);

  void depart(std::size_t node) { liveness_.depart(node); }
  bool departed(std::size_t node) const { return node != self_ && liveness_.departed(node); }

 private:
  struct Peer {
    std::uint64_t nonce = 0;
    std::vector<sockaddr_in> candidates;
    std::optional<sockaddr_in> proven;  // where its own datagrams come from
    std::uint64_t last_sequence = 0;
    bool left = false;
  };
  void broadcast(BeatState state, int exit_code);
  bool accept(const Beat& beat);

  BeatSocket& socket_;
  std::size_t self_;
  std::uint32_t epoch_;
  HeartbeatTimes times_;
  std::vector<Peer> peers_;
  Liveness liveness_;
  std::uint64_t sequence_ = 0;
  Clock::time_point next_beat_;
};

}  // namespace stint::agent
