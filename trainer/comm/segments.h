// SPDX-License-Identifier: Apache-2.0
// How the collectives over a transport cut the chunks: into equally many segments each, so that transfer and
// addition overlap and what follows can begin; those past the end of a shorter chunk are empty. The chunks
// are those of the ranks, or every `stride`-th one of more.
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
  static constexpr std::size_t kBytes = 256 * 1024;  // at most: stays in a core's second-level cache
  static constexpr std::size_t kLeastBytes = 32 * 1024;
  static constexpr std::size_t kWanted = 8;  // in a chunk, where they are not too small for that

  Segments(Data data, int ranks, const Cut& cut)
      : data_(data),
        ranks_(ranks),
        cut_(cut),
        size_(bytes_of(chunk(0).size() * size_of(data.type())) / size_of(data.type())),
        per_chunk_(std::max<std::size_t>(1, (chunk(0).size() + size_ - 1) / size_)) {}

  std::size_t per_chunk() const { return per_chunk_; }
  // Of all chunks, about.
  std::size_t bytes() const {
    return chunk(0).size() * size_of(data_.type()) * static_cast<std::size_t>(ranks_);
  }
  // `chunk` counts round the ring, also below 0.
  Data at(int chunk, std::size_t index) const {
    const Range whole = this->chunk(((chunk % ranks_) + ranks_) % ranks_);
    return data_.part({std::min(whole.begin + index * size_, whole.end),
                       std::min(whole.begin + (index + 1) * size_, whole.end)});
  }

 private:
  // A multiple of the vector that tree_sum() adds.
  static std::size_t bytes_of(std::size_t chunk) {
    return std::clamp((chunk / kWanted + 127) / 128 * 128, kLeastBytes, kBytes);
  }
  Range chunk(int rank) const { return chunk_of(data_.count(), cut_.parts, cut_.first + rank * cut_.stride); }

  Data data_;
  int ranks_;
  Cut cut_;
  std::size_t size_;
  std::size_t per_chunk_;
};

}  // namespace stint::comm
