// SPDX-License-Identifier: Apache-2.0
// Agent and worker: JSON objects, one a datagram, over a SOCK_SEQPACKET socket pair; the worker's end is file
// descriptor kWorkerChannel. Where a node has several workers, kWorkerMemory is what will hold the segment
// that they share. No threads. Knows nothing of torch and UCX.
//
// worker -> agent                                    agent -> worker
//   {"type":"address","address":HEX,                   {"type":"view","epoch":E,"rank":R,"size":N,
//       "shared_bytes":B: of each worker in the segment}    "addresses":[HEX by rank],"nodes":[a number by
//       rank],
//   {"type":"ready","resume_step":K,"parameters":P,        "shared_memory":whether the segment is there}
//       "communication":"shm","peak":{…}}             {"type":"stop","why":"…"}: checkpoint, then exit 75
//   {"type":"step", …as the log's step event}           {"type":"profile","id":I,"steps":K}: to rank 0;
//   {"type":"overflow","step":S,"loss_scale":L,"detail":"…"}: S is done again   base/run_profile.h
//   {"type":"checkpoint","step":S,"seconds":T,"blocked_seconds":T,"bytes":B}
//   {"type":"checkpoint_failed","step":S,"why":"…"}: it trains on
//   {"type":"finish","step":S,"loss":L}
//   {"type":"peer_lost","rank":R,"why":"…"}: then exits 1
//   {"type":"error","what":"…","exit":CODE}: then exits CODE
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace stint::agent {

inline constexpr int kWorkerChannel = 3;
inline constexpr int kWorkerMemory = 4;

class Channel {
 public:
  explicit Channel(int descriptor) : descriptor_(descriptor) {}  // takes ownership
  Channel(Channel&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Channel& operator=(Channel&& other) noexcept;
  ~Channel();

  // A connected pair, both close-on-exec. Throws Error.
  static std::pair<Channel, Channel> make_pair();

  int descriptor() const { return descriptor_; }
  // False when the other side is gone. Throws Error on a message over 1 MiB.
  bool send(const nlohmann::json& message);
  struct Received {
    bool closed = false;                    // the other side is gone
    std::optional<nlohmann::json> message;  // none: nothing came in time
  };
  Received receive(std::chrono::milliseconds timeout);

 private:
  int descriptor_ = -1;
};

}  // namespace stint::agent
