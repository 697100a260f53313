// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/liveness.h"

#include <algorithm>

namespace stint::agent {

Liveness::Liveness(std::size_t peers, Duration timeout, Duration first_timeout, Time now)
    : timeout_(timeout), first_timeout_(first_timeout), last_tick_(now), not_before_(now), peers_(peers) {
  for (Peer& peer : peers_) peer.heard = now;
}

void Liveness::tick(Time now) {
  if (now - last_tick_ > timeout_ / 2) not_before_ = now;
  last_tick_ = now;
}

void Liveness::note(std::size_t peer, Time now) {
  peers_[peer].heard = std::max(peers_[peer].heard, now);
  peers_[peer].ever = true;
}

void Liveness::depart(std::size_t peer) {
  peers_[peer].departed = true;
}

std::vector<std::size_t> Liveness::lost(Time now) const {
  std::vector<std::size_t> silent;
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    const Peer& peer = peers_[i];
    const Duration limit = peer.ever ? timeout_ : std::max(timeout_, first_timeout_);
    if (!peer.departed && now - std::max(peer.heard, not_before_) > limit) silent.push_back(i);
  }
  return silent;
}

}  // namespace stint::agent
