// SPDX-License-Identifier: Apache-2.0
// Memory as it was at one moment, read by one thread while others go on changing it: who is about to
// overwrite a part that has not been read copies it first, within the device. There is never a second copy of
// all of it: who finds no more room for copies waits for the reader.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <span>
#include <vector>

#include "trainer/engine/buffer.h"

namespace stint::engine {

class Snapshot {
 public:
  using Part = std::span<const float>;

  // `parts`: what will be read, none of it twice, of the device's memory. At most `most_kept` of its floats
  // are copied, and none where the device has no room for them.
  Snapshot(std::vector<Part> parts, std::size_t most_kept, model::Device& device = model::cpu());

  // Before `values` are overwritten, by any thread that may ask the device to do that.
  void keep(Part values);
  // By the thread that will read, before it does: what it waits for is no longer all that the device does.
  void begin_reading() { room_.device().go_aside(); }
  // What this part held, in the host's memory, by one thread; good until its next call.
  Part read(Part part);
  // No more is read; nobody waits or copies from now on.
  void close();
  // How long keep() took, all threads together.
  std::chrono::nanoseconds kept_for() const { return std::chrono::nanoseconds(kept_for_.load()); }

 private:
  enum State : std::uint8_t { kLive, kBusy, kKept, kDone };
  struct Tile {
    explicit Tile(Part where) : part(where) {}
    Tile(Tile&& other) noexcept : part(other.part) {}  // while the vector is made
    Part part;
    std::atomic<State> state{kLive};
    float* copy = nullptr;
    model::Device::Mark copied{};
  };

  static Buffer room(std::size_t floats, model::Device& device);
  void keep(Tile& tile);
  float* room_for(std::size_t floats);
  static void settle(Tile& tile, State state);

  std::vector<Tile> tiles_;  // by address
  Buffer room_;
  std::atomic<std::size_t> taken_ = 0;  // of the room
  std::atomic<std::int64_t> kept_for_ = 0;
  std::vector<float> out_;
};

}  // namespace stint::engine
