// SPDX-License-Identifier: Apache-2.0
// Each chunk is summed once, on the rank that owns it, and copied from there: equal bits on every rank.
#include "trainer/comm/ring.h"

namespace stint::comm {

Status RingCommunicator::all_reduce(Data data) {
  return perform("all_reduce", [&](const Operation& operation) -> Status {
    if (Status status = reduce_chunks(operation, data, own_cut()); !status) return status;
    return gather_chunks(next_part(operation), data, own_cut());
  });
}

}  // namespace stint::comm
