// SPDX-License-Identifier: Apache-2.0
// Flat float memory: zeroed, page-aligned, in huge pages where the kernel has them. One owner.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

namespace stint::engine {

class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t floats);  // throws Error that names the size when memory is short
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), floats_(std::exchange(other.floats_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  std::span<float> span() { return {data_, floats_}; }
  std::span<const float> span() const { return {data_, floats_}; }

 private:
  float* data_ = nullptr;
  std::size_t floats_ = 0;
};

}  // namespace stint::engine
