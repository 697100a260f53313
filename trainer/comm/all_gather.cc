// SPDX-License-Identifier: Apache-2.0
// Second half of the ring all-reduce (Patarasuk and Yuan 2009): each chunk goes once round the ring.
#include "trainer/comm/ring.h"

namespace stint::comm {

Status RingCommunicator::all_gather(std::span<float> data) {
  return perform("all_gather", [&](const Operation& operation) {
    return ring_steps(operation, data, rank(), size() - 1, 0);
  });
}

}  // namespace stint::comm
