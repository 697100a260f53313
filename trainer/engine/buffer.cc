// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"

namespace stint::engine {

Buffer::Buffer(std::size_t floats) : floats_(floats) {
  if (floats == 0) return;
  void* memory =
      mmap(nullptr, floats * sizeof(float), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    fail("memory: cannot get {} MiB for the training state: {}; take a smaller model",
         floats * sizeof(float) >> 20, errno_text(errno));
  madvise(memory, floats * sizeof(float), MADV_HUGEPAGE);  // only a hint
  data_ = static_cast<float*>(memory);
}

std::size_t Buffer::room_for(std::size_t floats) {
  constexpr std::size_t kLine = 64;
  return (floats * sizeof(float) + kLine - 1) / kLine * kLine;
}

Buffer Buffer::within(std::span<std::byte>& room, std::size_t floats) {
  if (room_for(floats) > room.size()) return Buffer(floats);
  Buffer buffer;
  buffer.data_ = reinterpret_cast<float*>(room.data());
  buffer.floats_ = floats;
  buffer.lent_ = true;
  room = room.subspan(room_for(floats));
  std::ranges::fill(buffer.span(), 0.0F);
  return buffer;
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(floats_, other.floats_);
  std::swap(lent_, other.lent_);
  return *this;
}

Buffer::~Buffer() {
  if (data_ != nullptr && !lent_) munmap(data_, floats_ * sizeof(float));
}

}  // namespace stint::engine
