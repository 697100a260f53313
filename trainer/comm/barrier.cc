// SPDX-License-Identifier: Apache-2.0
// Dissemination barrier: Hensgen, Finkel and Manber, "Two algorithms for barrier synchronization",
// Int. J. Parallel Program. 17 (1988). Round k: tell rank + 2^k, hear rank - 2^k; ceil(log2 size) rounds.
#include "trainer/comm/ring.h"

namespace stint::comm {

Status RingCommunicator::barrier() {
  std::byte out{1},
      in{0};  // outlive the requests: perform() aborts those of a failed barrier before it returns
  return perform("barrier", [&](const Operation& operation) -> Status {
    for (int distance = 1; distance < size(); distance *= 2) {
      const int to = (rank() + distance) % size(), from = (rank() + size() - distance) % size();
      const auto heard = post_receive(operation, from, {&in, 1});
      const auto told = post_send(operation, to, {&out, 1});
      if (Status status = wait(operation, heard, named(from)); !status) return status;
      if (Status status = wait(operation, told, named(to)); !status) return status;
    }
    return {};
  });
}

}  // namespace stint::comm
