// SPDX-License-Identifier: Apache-2.0
// all_reduce and reduce_scatter through shared memory.
#include <algorithm>
#include <array>
#include <cstring>

#include "trainer/comm/shm.h"
#include "trainer/comm/shm_pieces.h"
#include "trainer/comm/tree_sum.h"

namespace stint::comm {
namespace {

constexpr std::size_t kCacheLine = 64;
constexpr int kContributions = 0, kResults = 1;  // lanes

template <Element T>
void add_as(std::span<std::byte* const> from, std::span<std::byte* const> to, std::size_t count) {
  std::array<const T*, ShmSegment::kMaxRanks> terms;
  std::array<T*, ShmSegment::kMaxRanks> sums;
  const auto cast = [](std::byte* pointer) { return reinterpret_cast<T*>(pointer); };
  std::ranges::transform(from, terms.begin(), cast);
  std::ranges::transform(to, sums.begin(), cast);
  tree_sum(std::span(terms).first(from.size()), std::span(sums).first(to.size()), count);
}

void add(std::span<std::byte* const> from, std::span<std::byte* const> to, Type type, std::size_t count) {
  if (type == Type::kFloat)
    add_as<float>(from, to, count);
  else
    add_as<Bf16>(from, to, count);
}

// The part of a buffer that a rank adds in place: whole cache lines, so that no two ranks write to one.
Range share_of(Data data, int size, int rank) {
  const std::size_t line = kCacheLine / size_of(data.type());
  const Range lines = chunk_of((data.count() + line - 1) / line, size, rank);
  return {std::min(lines.begin * line, data.count()), std::min(lines.end * line, data.count())};
}

}  // namespace

Status ShmCommunicator::all_reduce(Data data) {
  const auto bytes = data.bytes();
  const Call call{shm::Kind::kAllReduce, data.type(), data.count(), 0, bytes, bytes, bytes.size()};
  return perform(call, [&]() -> Status {
    if (bytes.size() <= shm::kSmall) {
      for (int r = 0; r < size(); ++r) terms_[static_cast<std::size_t>(r)] = contribution(r, bytes.size());
      std::byte* sum = bytes.data();
      add(terms_, {&sum, 1}, data.type(), data.count());
      return {};
    }
    if (in_place()) return all_reduce_in_place(data);
    return size() == 2 ? all_reduce_by_tiles(data) : all_reduce_by_pieces(data);
  });
}

Status ShmCommunicator::all_reduce_in_place(Data data) {
  const Range share = share_of(data, size(), rank());
  for (int r = 0; r < size(); ++r)
    terms_[static_cast<std::size_t>(r)] = placed(r) + share.begin * size_of(data.type());
  add(terms_, terms_, data.type(), share.size());
  return finish();
}

// For two ranks: each adds all of a tile by itself, which saves handing the results on.
Status ShmCommunicator::all_reduce_by_tiles(Data data) {
  const auto bytes = data.bytes();
  const std::size_t tiles = (bytes.size() + shm::kTile - 1) / shm::kTile;
  const auto part = [&](std::size_t tile) {
    return bytes.subspan(tile * shm::kTile, std::min(shm::kTile, bytes.size() - tile * shm::kTile));
  };
  const auto stage = [&](std::size_t tile) -> Status {
    if (tile >= tiles) return {};
    if (Status status = open_tile(kContributions, tile); !status) return status;
    std::memcpy(tile_of(rank(), kContributions, tile), part(tile).data(), part(tile).size());
    publish(kContributions, tile);
    return {};
  };
  if (Status status = stage(0); !status) return status;
  for (std::size_t tile = 0; tile < tiles; ++tile) {
    if (Status status = stage(tile + 1); !status) return status;
    const Status staged = for_peers([&](int peer) -> Status {
      terms_[static_cast<std::size_t>(peer)] = tile_of(peer, kContributions, tile);
      return await_tile(peer, kContributions, tile);
    });
    if (!staged) return staged;
    std::byte* own = part(tile).data();
    terms_[static_cast<std::size_t>(rank())] = own;
    add(terms_, {&own, 1}, data.type(), part(tile).size() / size_of(data.type()));
    take(kContributions, tile);
  }
  pass_tiles(kContributions, tiles);
  return {};
}

// Each rank adds its piece of every tile and hands the sum to the others.
Status ShmCommunicator::all_reduce_by_pieces(Data data) {
  const Pieces pieces(data, size(), shm::kTile / static_cast<std::size_t>(size()));
  const std::size_t tiles = pieces.tiles();
  if (Status status = stage_contributions(pieces, 0); !status) return status;
  for (std::size_t tile = 0; tile < tiles; ++tile) {
    if (Status status = stage_contributions(pieces, tile + 1); !status) return status;
    if (Status status = open_tile(kResults, tile); !status) return status;
    if (Status status = sum_own(pieces, tile, tile_of(rank(), kResults, tile)); !status) return status;
    publish(kResults, tile);
    if (tile == 0) continue;
    if (Status status = take_results(pieces, tile - 1); !status) return status;
  }
  if (Status status = take_results(pieces, tiles - 1); !status) return status;
  pass_tiles(kContributions, tiles);
  pass_tiles(kResults, tiles);
  return {};
}

Status ShmCommunicator::reduce_scatter(Data data) {
  const auto bytes = data.bytes();
  const Call call{shm::Kind::kReduceScatter, data.type(), data.count(), 0, bytes, bytes, bytes.size()};
  return perform(call, [&]() -> Status {
    const bool small = bytes.size() <= shm::kSmall;
    if (!small && !in_place()) return reduce_scatter_staged(data);
    const Range own = chunk_of(data.count(), size(), rank());
    const std::size_t begin = own.begin * size_of(data.type());
    for (int r = 0; r < size(); ++r)
      terms_[static_cast<std::size_t>(r)] = (small ? contribution(r, bytes.size()) : placed(r)) + begin;
    std::byte* sum = bytes.data() + begin;
    add(terms_, {&sum, 1}, data.type(), own.size());
    return small ? Status{} : finish();
  });
}

Status ShmCommunicator::reduce_scatter_staged(Data data) {
  const Pieces pieces(data, size(), shm::kTile / static_cast<std::size_t>(size()));
  if (Status status = stage_contributions(pieces, 0); !status) return status;
  for (std::size_t tile = 0; tile < pieces.tiles(); ++tile) {
    if (Status status = stage_contributions(pieces, tile + 1); !status) return status;
    if (Status status = sum_own(pieces, tile, nullptr); !status) return status;
  }
  pass_tiles(kContributions, pieces.tiles());
  return {};
}

Status ShmCommunicator::stage_contributions(const Pieces& pieces, std::size_t tile) {
  if (tile >= pieces.tiles()) return {};
  if (Status status = open_tile(kContributions, tile); !status) return status;
  std::byte* to = tile_of(rank(), kContributions, tile);
  for (int owner = 0; owner < size(); ++owner) {
    const auto piece = pieces.at(owner, tile).bytes();
    if (owner != rank() && !piece.empty())
      std::memcpy(to + static_cast<std::size_t>(owner) * pieces.bytes(), piece.data(), piece.size());
  }
  publish(kContributions, tile);
  return {};
}

// `copy`: where the sum goes beside our own buffer, or null.
Status ShmCommunicator::sum_own(const Pieces& pieces, std::size_t tile, std::byte* copy) {
  const Data own = pieces.at(rank(), tile);
  const Status staged = for_peers([&](int peer) -> Status {
    terms_[static_cast<std::size_t>(peer)] =
        tile_of(peer, kContributions, tile) + static_cast<std::size_t>(rank()) * pieces.bytes();
    return await_tile(peer, kContributions, tile);
  });
  if (!staged) return staged;
  terms_[static_cast<std::size_t>(rank())] = own.bytes().data();
  const std::array<std::byte*, 2> sums{own.bytes().data(), copy};
  add(terms_, std::span(sums).first(copy == nullptr ? 1 : 2), own.type(), own.count());
  take(kContributions, tile);
  return {};
}

}  // namespace stint::comm
