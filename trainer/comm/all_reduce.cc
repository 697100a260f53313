// SPDX-License-Identifier: Apache-2.0
// Ring all-reduce (Patarasuk and Yuan 2009): 2 (size-1) steps, of which the first size-1 add. A chunk's sum
// is made once, on the rank that owns it, and copied: all ranks end with equal bits.
#include "trainer/comm/ring.h"

namespace stint::comm {

Status RingCommunicator::all_reduce(std::span<float> data) {
  return perform("all_reduce", [&](const Operation& operation) {
    return ring_steps(operation, data, rank() - 1, 2 * (size() - 1), size() - 1);
  });
}

}  // namespace stint::comm
