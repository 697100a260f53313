// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/arena.h"

#include <sys/mman.h>

#include <cstdint>
#include <utility>

namespace stint::model {
namespace {

constexpr std::size_t kLine = 64;

void release(std::byte* block, std::size_t bytes) {
  if (block != nullptr) munmap(block, bytes);
}

}  // namespace

Arena::~Arena() {
  release(block_, held_);
}

void Arena::ask(std::function<void(void*)> set, std::int64_t rows, std::int64_t columns,
                std::size_t element) {
  pieces_.push_back({std::move(set), wanted_});
  std::size_t bytes = 0;
  const bool counted = !__builtin_mul_overflow(rows, columns, &bytes) &&
                       !__builtin_mul_overflow(bytes, element, &bytes) &&
                       !__builtin_add_overflow(bytes, kLine - 1, &bytes) &&
                       !__builtin_add_overflow(wanted_, bytes / kLine * kLine, &wanted_);
  if (!counted) wanted_ = SIZE_MAX / kLine * kLine;  // any more overflows again
}

bool Arena::allocate() {
  const auto pieces = std::exchange(pieces_, {});
  const std::size_t bytes = std::exchange(wanted_, 0);
  if (bytes > held_) {
    release(std::exchange(block_, nullptr), std::exchange(held_, 0));
    void* block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) return false;
    madvise(block, bytes, MADV_HUGEPAGE);  // only a hint
    block_ = static_cast<std::byte*>(block);
    held_ = bytes;
  }
  for (const auto& piece : pieces) piece.set(block_ + piece.offset);
  return true;
}

}  // namespace stint::model
