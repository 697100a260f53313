// SPDX-License-Identifier: Apache-2.0
// How the collectives over a transport cut the chunks: into equally many segments each, so that transfer and
// addition overlap; those past the end of a shorter chunk are empty. The chunks are those of the ranks, or
// every `stride`-th one of more.
#pragma once

#include <algorithm>

#include "trainer/comm/communicator.h"

namespace stint::comm {

// The chunks of a buffer that is cut into `parts`; the ranks of a communicator own those at `first`,
// `first` + `stride` and so on.
struct Cut {
  int parts, first, stride;
};

class Segments {
 public:
  static constexpr std::size_t kBytes = 256 * 1024;  // stays in a core's second-level cache

  Segments(Data data, int ranks, const Cut& cut)
      : data_(data),
        ranks_(ranks),
        cut_(cut),
        size_(kBytes / size_of(data.type())),
        per_chunk_(std::max<std::size_t>(1, (chunk(0).size() + size_ - 1) / size_)) {}

  std::size_t per_chunk() const { return per_chunk_; }
  // `chunk` counts round the ring, also below 0.
  Data at(int chunk, std::size_t index) const {
    const Range whole = this->chunk(((chunk % ranks_) + ranks_) % ranks_);
    return data_.part({std::min(whole.begin + index * size_, whole.end),
                       std::min(whole.begin + (index + 1) * size_, whole.end)});
  }

 private:
  Range chunk(int rank) const { return chunk_of(data_.count(), cut_.parts, cut_.first + rank * cut_.stride); }

  Data data_;
  int ranks_;
  Cut cut_;
  std::size_t size_;
  std::size_t per_chunk_;
};

}  // namespace stint::comm
