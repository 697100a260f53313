// SPDX-License-Identifier: Apache-2.0
// What stands at the beginning of a ShmSegment. All of it is zero at first. What different ranks write lies
// in different pairs of cache lines. Counters only grow; who waits for one waits until it is large enough.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "trainer/comm/data.h"

namespace stint::comm::shm {

using Counter = std::atomic<std::uint64_t>;
static_assert(Counter::is_always_lock_free);

inline constexpr std::size_t kApart = 128;        // cache lines are fetched in pairs
inline constexpr std::size_t kInline = 24;        // bytes that travel with the announcement
inline constexpr std::size_t kSmall = 4096;       // bytes that are copied to all rather than read in place
inline constexpr std::size_t kTile = 128 * 1024;  // of a buffer that is passed through
inline constexpr std::size_t kTiles = 4;          // under way at once
inline constexpr std::size_t kPiece = 8 * 1024;   // of a message between two ranks
inline constexpr std::size_t kPieces = 2;         // under way at once
inline constexpr std::uint64_t kElsewhere = ~std::uint64_t{0};  // not in the rank's own memory

enum class Kind : std::uint8_t { kBarrier, kAllReduce, kReduceScatter, kAllGather, kBroadcast };

// What a rank is about to do, in one cache line, with its contribution if that is tiny.
struct alignas(64) Announcement {
  Counter operation;    // its number + 1, stored last
  std::uint64_t count;  // elements; of a broadcast: bytes
  std::uint64_t place;  // offset in the rank's own memory, or kElsewhere
  Kind kind;
  Type type;
  std::uint16_t root;
  std::array<std::byte, kInline> contribution;
};
static_assert(sizeof(Announcement) <= 64);

// A stream of tiles from one rank to all others.
struct Lane {
  alignas(kApart) Counter staged;  // tiles that may be read
  alignas(kApart) Counter taken;   // tiles of every other rank that this one has read
};

enum class Presence : std::uint32_t { kAbsent, kHere, kDead };

struct RankControl {
  alignas(kApart) std::atomic<Presence> presence;
  pid_t process;
  std::uint64_t
      started;  // of the process, in clock ticks since boot: tells it from a later one of that number
  cpu_set_t cores;
  // By parity of the operation: whoever begins operation k + 2 knows that all have left operation k.
  alignas(kApart) std::array<Announcement, 2> announcements;
  alignas(kApart) Counter done;  // operations that are over for this rank
  std::array<Lane, 2> lanes;     // contributions, results
  alignas(kApart) std::array<std::array<std::byte, kSmall>, 2> small;                   // by parity as well
  alignas(4096) std::array<std::array<std::array<std::byte, kTile>, kTiles>, 2> tiles;  // by lane
};

// Messages from one rank to another, cut into pieces.
struct Channel {
  alignas(kApart) Counter put;
  alignas(kApart) Counter taken;
  // Of the message that begins with the piece in this place.
  alignas(kApart) std::array<std::uint64_t, kPieces> bytes;
  std::array<std::uint64_t, kPieces> place;  // as in an Announcement
  alignas(kApart) std::array<std::array<std::byte, kPiece>, kPieces> pieces;
};

struct Header {
  std::uint64_t magic;
  std::int32_t ranks;
  std::uint32_t epoch;
  std::uint64_t data_bytes;
  alignas(kApart) std::atomic<std::uint64_t> failure;  // the first one, as Notice packs it; 0: none
};

}  // namespace stint::comm::shm
