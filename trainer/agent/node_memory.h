// SPDX-License-Identifier: Apache-2.0
// The memory that the workers of a node share, owned by their agent: it outlives any worker and is gone with
// the agent, however that ends. There before the workers, who inherit it; its size is known once they have
// said what they need. One view's: the next one gets another. No threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "recipes/recipe.h"
#include "trainer/comm/memory_room.h"
#include "trainer/comm/shm_segment.h"
#include "trainer/descriptor.h"

namespace stint::agent {

class NodeMemory {
 public:
  // None for a single worker, nor for more than a segment can have: there is nothing to inherit then (-1).
  explicit NodeMemory(int workers);

  int descriptor() const { return descriptor_.get(); }
  // Throws Error, or FinalError, with the remedy when there is not so much memory.
  void lay_out(std::uint32_t epoch, std::size_t bytes_of_each);
  bool is_laid_out() const { return segment_.has_value(); }
  // What waits for this worker fails at once.
  void declare_dead(int local);

 private:
  int workers_;
  Descriptor descriptor_;
  std::optional<comm::ShmSegment> segment_;
};

// What a node's workers will need, by the recipe, beside what there is: throws FinalError with the remedy
// where it can never be enough; otherwise a warning where it is short now, or nothing.
std::string check_memory(const recipes::Recipe& recipe, std::int64_t workers_in_all,
                         const std::vector<comm::MemoryRoom>& rooms);

}  // namespace stint::agent
