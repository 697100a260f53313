// SPDX-License-Identifier: Apache-2.0
// One block of memory for all that a step works in: pieces are asked for, then laid out together, each on a
// 64-byte line. The block only grows; a smaller set of pieces is laid into what is there. One owner, one
// thread. The device outlives it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "trainer/model/device.h"

namespace stint::model {

class Arena {
 public:
  explicit Arena(Device& device = cpu()) : device_(device) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Asks for rows * columns elements. `place` is set by allocate() and must stay where it is until then.
  template <typename T>
  void ask(T*& place, std::int64_t rows, std::int64_t columns = 1, std::size_t element = sizeof(T)) {
    ask([&place](void* piece) { place = static_cast<T*>(piece); }, rows, columns, element);
  }
  void ask(void*& place, std::int64_t rows, std::int64_t columns, std::size_t element) {
    ask([&place](void* piece) { place = piece; }, rows, columns, element);
  }
  // Bytes asked for; SIZE_MAX: more than can be counted.
  std::size_t wanted() const { return wanted_; }
  // Sets every place that was asked for since the last time; false: there is no such memory, and none is
  // held.
  bool allocate();

 private:
  struct Piece {
    std::function<void(void*)> set;
    std::size_t offset;
  };
  void ask(std::function<void(void*)> set, std::int64_t rows, std::int64_t columns, std::size_t element);

  void release();

  Device& device_;
  std::vector<Piece> pieces_;
  std::size_t wanted_ = 0;
  std::byte* block_ = nullptr;
  std::size_t held_ = 0;
};

}  // namespace stint::model
