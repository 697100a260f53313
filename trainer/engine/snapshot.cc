// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/snapshot.h"

#include <algorithm>

#include "base/final_error.h"

namespace stint::engine {

// Without any, who overwrites waits for the reader.
Buffer Snapshot::room(std::size_t floats, model::Device& device) try {
  return Buffer(floats, device);
} catch (const FinalError&) {
  return Buffer(0, device);
}

Snapshot::Snapshot(std::vector<Part> parts, std::size_t most_kept, model::Device& device)
    : room_(room(most_kept, device)) {
  std::ranges::sort(parts, {}, &Part::data);
  std::size_t largest = 0;
  for (const Part& part : parts) {
    tiles_.emplace_back(part);
    largest = std::max(largest, part.size());
  }
  out_.resize(largest);
}

void Snapshot::keep(Part values) {
  auto tile =
      std::ranges::upper_bound(tiles_, values.data(), {}, [](const Tile& t) { return t.part.data(); });
  if (tile != tiles_.begin()) --tile;
  for (; tile != tiles_.end() && tile->part.data() < values.data() + values.size(); ++tile) {
    if (tile->part.data() + tile->part.size() <= values.data() || tile->state == kDone) continue;
    const auto begin = std::chrono::steady_clock::now();
    keep(*tile);
    kept_for_ += std::chrono::nanoseconds(std::chrono::steady_clock::now() - begin).count();
  }
}

void Snapshot::keep(Tile& tile) {
  float* const copy = room_for(tile.part.size());
  for (;;) {
    State state = tile.state;
    if (state == kKept || state == kDone) return;
    if (state == kBusy || copy == nullptr) {
      tile.state.wait(state);
    } else if (tile.state.compare_exchange_strong(state, kBusy)) {
      room_.device().copy(copy, tile.part.data(), tile.part.size_bytes());
      tile.copy = copy;
      tile.copied = room_.device().mark();
      return settle(tile, kKept);
    }
  }
}

float* Snapshot::room_for(std::size_t floats) {
  const auto room = room_.span();
  std::size_t taken = taken_;
  do {
    if (taken + floats > room.size()) return nullptr;
  } while (!taken_.compare_exchange_weak(taken, taken + floats));
  return &room[taken];
}

Snapshot::Part Snapshot::read(Part part) {
  const auto found =
      std::ranges::lower_bound(tiles_, part.data(), {}, [](const Tile& t) { return t.part.data(); });
  Tile& tile = *found;
  model::Device& device = room_.device();
  for (;;) {
    State state = tile.state;
    if (state == kKept) {
      settle(tile, kDone);
      if (device.is_host()) return {tile.copy, tile.part.size()};
      device.wait_for(tile.copied);
      device.get(out_.data(), tile.copy, tile.part.size_bytes());
      return {out_.data(), tile.part.size()};
    }
    if (state == kBusy) {
      tile.state.wait(state);
    } else if (tile.state.compare_exchange_strong(state, kBusy)) {
      device.get(out_.data(), tile.part.data(), tile.part.size_bytes());
      settle(tile, kDone);
      return {out_.data(), tile.part.size()};
    }
  }
}

void Snapshot::close() {
  for (Tile& tile : tiles_) settle(tile, kDone);
}

void Snapshot::settle(Tile& tile, State state) {
  tile.state = state;
  tile.state.notify_all();
}

}  // namespace stint::engine
