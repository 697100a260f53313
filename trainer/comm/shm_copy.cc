// SPDX-License-Identifier: Apache-2.0
// all_gather, broadcast and barrier through shared memory.
#include <algorithm>
#include <cstring>

#include "trainer/comm/shm.h"
#include "trainer/comm/shm_pieces.h"

namespace stint::comm {
namespace {

constexpr int kContributions = 0, kResults = 1;  // lanes

void copy(std::span<std::byte> to, const std::byte* from) {
  if (!to.empty()) std::memcpy(to.data(), from, to.size());
}

}  // namespace

Status ShmCommunicator::all_gather(Data data) {
  const auto chunk = [&](int r) { return data.part(chunk_of(data.count(), size(), r)).bytes(); };
  const std::size_t longest = chunk(0).size();
  const Call call{shm::Kind::kAllGather, data.type(), data.count(), 0, data.bytes(), chunk(rank()), longest};
  return perform(call, [&]() -> Status {
    const bool small = longest <= shm::kSmall;
    if (!small && !in_place()) return all_gather_staged(data);
    const Status copied = for_peers([&](int peer) -> Status {
      const auto offset = static_cast<std::size_t>(chunk(peer).data() - data.bytes().data());
      copy(chunk(peer), small ? contribution(peer, longest) : placed(peer) + offset);
      return {};
    });
    return small ? copied : finish();
  });
}

Status ShmCommunicator::all_gather_staged(Data data) {
  const Pieces pieces(data, size(), shm::kTile);
  const auto stage = [&](std::size_t tile) -> Status {
    if (tile >= pieces.tiles()) return {};
    if (Status status = open_tile(kResults, tile); !status) return status;
    const auto own = pieces.at(rank(), tile).bytes();
    copy({tile_of(rank(), kResults, tile), own.size()}, own.data());
    publish(kResults, tile);
    return {};
  };
  if (Status status = stage(0); !status) return status;
  for (std::size_t tile = 0; tile < pieces.tiles(); ++tile) {
    if (Status status = stage(tile + 1); !status) return status;
    if (Status status = take_results(pieces, tile); !status) return status;
  }
  pass_tiles(kResults, pieces.tiles());
  return {};
}

Status ShmCommunicator::take_results(const Pieces& pieces, std::size_t tile) {
  const Status taken = for_peers([&](int peer) -> Status {
    if (Status status = await_tile(peer, kResults, tile); !status) return status;
    copy(pieces.at(peer, tile).bytes(), tile_of(peer, kResults, tile));
    return {};
  });
  if (taken) take(kResults, tile);
  return taken;
}

Status ShmCommunicator::broadcast(std::span<std::byte> data, int root) {
  const bool gives = rank() == root;
  const Call call{shm::Kind::kBroadcast,
                  Type::kFloat,
                  data.size(),
                  root,
                  data,
                  gives ? std::span<const std::byte>(data) : std::span<const std::byte>(),
                  data.size()};
  return perform(call, [&]() -> Status {
    const bool small = data.size() <= shm::kSmall;
    if (!small && !in_place()) return broadcast_staged(data, root);
    if (!gives) copy(data, small ? contribution(root, data.size()) : placed(root));
    return small ? Status{} : finish();
  });
}

// The others' lanes are counted on, though nothing goes through them: all lanes keep step.
Status ShmCommunicator::broadcast_staged(std::span<std::byte> data, int root) {
  const std::size_t tiles = (data.size() + shm::kTile - 1) / shm::kTile;
  for (std::size_t tile = 0; tile < tiles; ++tile) {
    const auto part = data.subspan(tile * shm::kTile, std::min(shm::kTile, data.size() - tile * shm::kTile));
    if (rank() == root) {
      if (Status status = open_tile(kContributions, tile); !status) return status;
      copy({tile_of(rank(), kContributions, tile), part.size()}, part.data());
      publish(kContributions, tile);
    } else {
      if (Status status = await_tile(root, kContributions, tile); !status) return status;
      copy(part, tile_of(root, kContributions, tile));
      take(kContributions, tile);
    }
  }
  if (rank() == root)
    take(kContributions, tiles - 1);
  else
    publish(kContributions, tiles - 1);
  pass_tiles(kContributions, tiles);
  return {};
}

Status ShmCommunicator::barrier() {
  return perform({shm::Kind::kBarrier}, [] { return Status{}; });
}

}  // namespace stint::comm
