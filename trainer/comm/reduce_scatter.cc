// SPDX-License-Identifier: Apache-2.0
// First half of the ring all-reduce (Patarasuk and Yuan 2009): after size-1 steps rank r holds the sum of
// chunk r.
#include "trainer/comm/ring.h"

namespace stint::comm {

Status RingCommunicator::reduce_scatter(std::span<float> data) {
  return perform("reduce_scatter", [&](const Operation& operation) {
    return ring_steps(operation, data, rank() - 1, size() - 1, size() - 1);
  });
}

}  // namespace stint::comm
