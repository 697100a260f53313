// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/arena.h"

#include <cstdint>
#include <utility>

namespace stint::model {
namespace {

constexpr std::size_t kLine = 64;

}  // namespace

Arena::~Arena() {
  release();
}

void Arena::release() {
  if (block_ != nullptr) device_.release(block_, held_);
  block_ = nullptr;
  held_ = 0;
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
    release();
    block_ = static_cast<std::byte*>(device_.allocate(bytes));
    if (block_ == nullptr) return false;
    held_ = bytes;
  }
  for (const auto& piece : pieces) piece.set(block_ + piece.offset);
  return true;
}

}  // namespace stint::model
