// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/peers.h"

#include <arpa/inet.h>

#include "base/error.h"

namespace stint::agent {
namespace {

constexpr int kLastWords = 3;

std::optional<sockaddr_in> socket_address(const std::string& address, std::uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(port);
  if (inet_pton(AF_INET, address.c_str(), &result.sin_addr) != 1) return std::nullopt;
  return result;
}

}  // namespace

// On one host the loopback always works; between hosts every published address is tried until one is proven.
std::vector<sockaddr_in> candidates_for(const Identity& peer, const Identity& self, std::uint16_t port) {
  std::vector<std::string> texts = peer.addresses;
  if (peer.host == self.host) texts.insert(texts.begin(), "127.0.0.1");
  std::vector<sockaddr_in> candidates;
  for (const std::string& text : texts) {
    if (const auto address = socket_address(text, port)) candidates.push_back(*address);
  }
  return candidates;
}

nlohmann::json to_json(const Identity& identity) {
  return {{"node", identity.node},
          {"host", identity.host},
          {"topology", identity.topology},
          {"topology_pattern", identity.topology_pattern},
          {"addresses", identity.addresses},
          {"port", identity.port},
          {"nonce", identity.nonce},
          {"probe_port", identity.probe_port},
          {"nvlink_domain", identity.nvlink_domain},
          {"cpu_model", identity.cpu_model}};
}

Identity parse_identity(const nlohmann::json& json) {
  try {
    return {json.at("node"),          json.at("host"),     json.at("topology"), json.at("topology_pattern"),
            json.at("addresses"),     json.at("port"),     json.at("nonce"),    json.at("probe_port"),
            json.at("nvlink_domain"), json.at("cpu_model")};
  } catch (const nlohmann::json::exception& error) {
    fail("rendezvous: malformed agent file: {}", error.what());
  }
}

Peers::Peers(BeatSocket& socket, const std::vector<Identity>& all, std::size_t self, std::uint32_t epoch,
             HeartbeatTimes times, Clock::time_point now)
    : socket_(socket),
      self_(self),
      epoch_(epoch),
      times_(times),
      liveness_(all.size(), times.timeout, times.first_timeout, now),
      next_beat_(now) {
  for (const Identity& identity : all) {
    Peer peer;
    peer.nonce = identity.nonce;
    peer.candidates = candidates_for(identity, all[self], identity.port);
    peers_.push_back(std::move(peer));
  }
  liveness_.depart(self);
}

bool Peers::accept(const Beat& beat) {
  if (beat.from >= peers_.size() || beat.from == self_ || beat.to != self_ || beat.epoch != epoch_)
    return false;
  Peer& peer = peers_[beat.from];
  if (beat.nonce != peer.nonce || beat.sequence <= peer.last_sequence) return false;
  peer.last_sequence = beat.sequence;
  return true;
}

Peers::News Peers::read(Clock::time_point now) {
  News news;
  while (const auto datagram = socket_.receive()) {
    const auto& [beat, from] = *datagram;
    if (!accept(beat)) continue;
    Peer& peer = peers_[beat.from];
    peer.proven = from;
    liveness_.note(beat.from, now);
    news.stop_asked = news.stop_asked || beat.state == BeatState::kStopping;
    if (beat.state == BeatState::kLeaving && !peer.left) {
      peer.left = true;
      news.left.push_back({beat.from, beat.exit_code});
    }
  }
  return news;
}

std::vector<std::size_t> Peers::turn(BeatState state, Clock::time_point now) {
  liveness_.tick(now);
  if (now >= next_beat_) {
    next_beat_ = now + times_.interval;
    broadcast(state, 0);
  }
  return liveness_.lost(now);
}

void Peers::broadcast(BeatState state, int exit_code) {
  ++sequence_;
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    if (liveness_.departed(i)) continue;
    const Beat beat{.nonce = peers_[self_].nonce,
                    .epoch = epoch_,
                    .from = static_cast<std::uint32_t>(self_),
                    .to = static_cast<std::uint32_t>(i),
                    .sequence = sequence_,
                    .state = state,
                    .exit_code = static_cast<std::uint8_t>(exit_code)};
    if (peers_[i].proven) {
      socket_.send(beat, *peers_[i].proven);
    } else {
      for (const sockaddr_in& candidate : peers_[i].candidates) socket_.send(beat, candidate);
    }
  }
}

void Peers::leave(int exit_code) {
  for (int i = 0; i < kLastWords; ++i) broadcast(BeatState::kLeaving, exit_code);
}

}  // namespace stint::agent
