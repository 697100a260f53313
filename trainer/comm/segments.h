// SPDX-License-Identifier: Apache-2.0
// How the collectives over a transport cut the chunks: into equally many segments each, so that transfer and
// addition overlap; those past the end of a shorter chunk are empty.
#pragma once

#include <algorithm>

#include "trainer/comm/communicator.h"

namespace stint::comm {

class Segments {
 public:
  static constexpr std::size_t kBytes = 256 * 1024;  // stays in a core's second-level cache

  Segments(Data data, int ranks)
      : data_(data),
        ranks_(ranks),
        size_(kBytes / size_of(data.type())),
        per_chunk_(std::max<std::size_t>(1, (chunk_of(data.count(), ranks, 0).size() + size_ - 1) / size_)) {}

  std::size_t per_chunk() const { return per_chunk_; }
  // `chunk` counts round the ring, also below 0.
  Data at(int chunk, std::size_t index) const {
    const Range whole = chunk_of(data_.count(), ranks_, ((chunk % ranks_) + ranks_) % ranks_);
    return data_.part({std::min(whole.begin + index * size_, whole.end),
                       std::min(whole.begin + (index + 1) * size_, whole.end)});
  }

 private:
  Data data_;
  int ranks_;
  std::size_t size_;
  std::size_t per_chunk_;
};

}  // namespace stint::comm
