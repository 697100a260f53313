// SPDX-License-Identifier: Apache-2.0
// Heartbeats between agents: one small UDP datagram each interval to every peer. A datagram carries the nonce
// that its sender published in the rendezvous, so that one of another run, attempt or program is never taken
// for a peer's; it guards against accident, not against an attacker on the cluster's network. IPv4.
#pragma once

#include <netinet/in.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace stint::agent {

enum class BeatState : std::uint8_t {
  kAlive = 0,
  kStopping = 1,  // was asked to stop: tell your workers too
  kLeaving = 2,   // exits now, with `exit_code`
};

struct Beat {
  std::uint64_t nonce = 0;  // of the sender
  std::uint32_t epoch = 0;
  std::uint32_t from = 0;  // index in the step's node list
  std::uint32_t to = 0;
  std::uint64_t sequence = 0;  // of the sender, rising
  BeatState state = BeatState::kAlive;
  std::uint8_t exit_code = 0;
};

inline constexpr std::size_t kBeatBytes = 38;
std::array<std::byte, kBeatBytes> encode(const Beat& beat);
// None: not one of ours (length, magic, version or state).
std::optional<Beat> decode(std::span<const std::byte> datagram);

// An unconnected UDP socket on every local address, non-blocking, close-on-exec.
class BeatSocket {
 public:
  BeatSocket();  // throws Error
  ~BeatSocket();
  BeatSocket(const BeatSocket&) = delete;
  BeatSocket& operator=(const BeatSocket&) = delete;

  int descriptor() const { return descriptor_; }
  std::uint16_t port() const { return port_; }
  // Best effort: what is lost is lost.
  void send(const Beat& beat, const sockaddr_in& to);
  // The next datagram that is ours; none: nothing more waits.
  std::optional<std::pair<Beat, sockaddr_in>> receive();

 private:
  int descriptor_ = -1;
  std::uint16_t port_ = 0;
};

// This host's addresses that others may reach, in dotted form; no loopback; at most four.
std::vector<std::string> local_addresses();

}  // namespace stint::agent
