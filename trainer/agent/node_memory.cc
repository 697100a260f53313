// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/node_memory.h"

#include <fcntl.h>

namespace stint::agent {

NodeMemory::NodeMemory(int workers) : workers_(workers) {
  if (workers > 1 && workers <= comm::ShmSegment::kMaxRanks)
    descriptor_ = Descriptor(comm::ShmSegment::open_anonymous());
}

void NodeMemory::lay_out(std::uint32_t epoch, std::size_t bytes_of_each) {
  if (descriptor() < 0) return;
  segment_.emplace(
      comm::ShmSegment::lay_out(fcntl(descriptor(), F_DUPFD_CLOEXEC, 0), {workers_, epoch, bytes_of_each}));
}

void NodeMemory::declare_dead(int local) {
  if (segment_) segment_->declare_dead(local);
}

}  // namespace stint::agent
