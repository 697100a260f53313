// SPDX-License-Identifier: Apache-2.0
// Flat float memory of a device: zeroed, 64-byte aligned. One owner, unless it lies in memory that its maker
// was given. The host may touch what span() names only where the device is the host. The device outlives it.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "trainer/model/device.h"

namespace stint::engine {

class Buffer {
 public:
  Buffer() = default;
  // Throws FinalError that names the size when memory is short.
  explicit Buffer(std::size_t floats, model::Device& device = model::cpu());
  // At the beginning of `room`, which is shortened by it; where they do not fit, in memory of their own.
  static Buffer within(std::span<std::byte>& room, std::size_t floats, model::Device& device = model::cpu());
  // What that takes of the room, in bytes.
  static std::size_t room_for(std::size_t floats);
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  std::span<float> span() { return {data_, floats_}; }
  std::span<const float> span() const { return {data_, floats_}; }
  model::Device& device() const { return *device_; }

 private:
  float* data_ = nullptr;
  std::size_t floats_ = 0;
  bool lent_ = false;  // somebody else's memory
  model::Device* device_ = &model::cpu();
};

}  // namespace stint::engine
