// SPDX-License-Identifier: Apache-2.0
// How a buffer that is passed through shared memory is cut so that every rank has work in every tile: tile t
// holds the t-th piece of each rank's chunk. Pieces past the end of a chunk are empty or short.
#pragma once

#include <algorithm>

#include "trainer/comm/shm.h"

namespace stint::comm {

struct ShmCommunicator::Pieces {
 public:
  Pieces(Data data, int ranks, std::size_t bytes)
      : data_(data), ranks_(ranks), size_(bytes / size_of(data.type())) {}

  std::size_t bytes() const { return size_ * size_of(data_.type()); }
  std::size_t tiles() const { return (chunk_of(data_.count(), ranks_, 0).size() + size_ - 1) / size_; }
  Data at(int rank, std::size_t tile) const {
    const Range chunk = chunk_of(data_.count(), ranks_, rank);
    return data_.part({std::min(chunk.begin + tile * size_, chunk.end),
                       std::min(chunk.begin + (tile + 1) * size_, chunk.end)});
  }

 private:
  Data data_;
  int ranks_;
  std::size_t size_;
};

}  // namespace stint::comm
