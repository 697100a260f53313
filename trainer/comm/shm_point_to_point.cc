// SPDX-License-Identifier: Apache-2.0
// Messages between two ranks through their channel: piece by piece, or, where the sender's buffer lies in its
// memory, read from there.
#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>

#include "trainer/comm/shm.h"

namespace stint::comm {
namespace {

std::size_t pieces_of(std::size_t bytes) {
  return std::max<std::size_t>(1, (bytes + shm::kPiece - 1) / shm::kPiece);
}

std::size_t length_of(std::size_t piece, std::size_t bytes) {
  return std::min(shm::kPiece, bytes - piece * shm::kPiece);
}

}  // namespace

Status ShmCommunicator::send(std::span<const std::byte> data, int to) {
  assert(to != rank());
  shm::Channel& channel = segment_.channel(rank(), to);
  const std::uint64_t place = data.size() > shm::kPiece ? place_of(data) : shm::kElsewhere;
  const bool placed_here = place != shm::kElsewhere;
  return attempt("send", [&]() -> Status {
    std::uint64_t number = channel.put.load(std::memory_order_relaxed);
    for (std::size_t piece = 0; piece < (placed_here ? 1 : pieces_of(data.size())); ++piece, ++number) {
      if (number >= shm::kPieces)
        if (Status status = await(to, channel.taken, number + 1 - shm::kPieces); !status) return status;
      const std::size_t slot = number % shm::kPieces;
      channel.bytes[slot] = data.size();
      channel.place[slot] = place;
      if (!placed_here && !data.empty())
        std::memcpy(channel.pieces[slot].data(), data.data() + piece * shm::kPiece,
                    length_of(piece, data.size()));
      channel.put.store(number + 1, std::memory_order_release);
    }
    return placed_here ? await(to, channel.taken, number) : Status{};
  });
}

Status ShmCommunicator::receive(std::span<std::byte> data, int from) {
  assert(from != rank());
  shm::Channel& channel = segment_.channel(from, rank());
  return attempt("receive", [&]() -> Status {
    std::uint64_t number = channel.taken.load(std::memory_order_relaxed);
    for (std::size_t piece = 0; piece < pieces_of(data.size()); ++piece, ++number) {
      if (Status status = await(from, channel.put, number + 1); !status) return status;
      const std::size_t slot = number % shm::kPieces;
      if (channel.bytes[slot] != data.size())
        return {Code::kPeerFailed, named(from),
                fmt::format("rank {} sent {} bytes where {} were awaited", named(from), channel.bytes[slot],
                            data.size())};
      const bool placed_there = channel.place[slot] != shm::kElsewhere;
      if (placed_there)
        std::memcpy(data.data(), segment_.data(from).data() + channel.place[slot], data.size());
      else if (!data.empty())
        std::memcpy(data.data() + piece * shm::kPiece, channel.pieces[slot].data(),
                    length_of(piece, data.size()));
      channel.taken.store(number + 1, std::memory_order_release);
      if (placed_there) break;
    }
    return {};
  });
}

}  // namespace stint::comm
