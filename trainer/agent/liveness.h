// SPDX-License-Identifier: Apache-2.0
// Who of the peers is alive, from the times at which something was heard. Pure: the caller brings the clock.
// An agent that was itself paused (SIGSTOP, a suspended machine, no processor time) heard nothing because it
// did not listen: it gives every peer a whole new time-out before it accuses anyone.
#pragma once

#include <chrono>
#include <cstddef>
#include <vector>

namespace stint::agent {

class Liveness {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;

  // A peer may be silent for `timeout`, and for `first_timeout` from `now` on before it was heard at all.
  Liveness(std::size_t peers, Duration timeout, Duration first_timeout, Time now);

  // Call once a turn of the loop, before lost(): turns further apart than half the time-out mean that this
  // process was late itself.
  void tick(Time now);
  // The peer was heard.
  void note(std::size_t peer, Time now);
  // The peer left in an orderly way, or is known to be lost: it is not watched any more.
  void depart(std::size_t peer);

  // Peers, in order, that have been silent for too long.
  std::vector<std::size_t> lost(Time now) const;
  bool departed(std::size_t peer) const { return peers_[peer].departed; }

 private:
  struct Peer {
    Time heard{};
    bool ever = false;
    bool departed = false;
  };
  Duration timeout_;
  Duration first_timeout_;
  Time last_tick_;
  Time not_before_;  // silence is counted from here on
  std::vector<Peer> peers_;
};

}  // namespace stint::agent
