// SPDX-License-Identifier: Apache-2.0
// Flat float memory: zeroed, 64-byte aligned, in huge pages where the kernel has them. One owner, unless it
// lies in memory that its maker was given.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

namespace stint::engine {

class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t floats);  // throws Error that names the size when memory is short
  // At the beginning of `room`, which is shortened by it; where they do not fit, in memory of their own.
  static Buffer within(std::span<std::byte>& room, std::size_t floats);
  // What that takes of the room, in bytes.
  static std::size_t room_for(std::size_t floats);
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        floats_(std::exchange(other.floats_, 0)),
        lent_(other.lent_) {}
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  std::span<float> span() { return {data_, floats_}; }
  std::span<const float> span() const { return {data_, floats_}; }

 private:
  float* data_ = nullptr;
  std::size_t floats_ = 0;
  bool lent_ = false;  // somebody else's memory
};

}  // namespace stint::engine
