// SPDX-License-Identifier: Apache-2.0
// Second half of the ring all-reduce of Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for
// clusters of workstations", J. Parallel Distrib. Comput. 69 (2009): each chunk goes once round the ring,
// its segments following each other.
#include "trainer/comm/ring.h"

namespace stint::comm {

Status RingCommunicator::gather_chunks(const Operation& operation, Data data, const Cut& cut) {
  const Segments segments(data, size(), cut);
  const std::size_t per_step = segments.per_chunk();
  const auto passed = [&](std::size_t q, int ahead) {
    return segments.at(rank() - static_cast<int>(q / per_step) - ahead, q % per_step).bytes();
  };
  Flow flow;
  flow.from = [&](std::size_t) { return left(); };
  flow.to = [&](std::size_t) { return right(); };
  flow.receives = flow.sends = static_cast<std::size_t>(size() - 1) * per_step;
  flow.lag = per_step;
  flow.target = [&](std::size_t q) { return passed(q, 1); };
  flow.source = [&](std::size_t q) { return passed(q, 0); };
  return run(operation, flow);
}

Status RingCommunicator::all_gather(Data data) {
  return all_gather(data, own_cut());
}

Status RingCommunicator::all_gather(Data data, const Cut& cut) {
  return perform("all_gather",
                 [&](const Operation& operation) { return gather_chunks(operation, data, cut); });
}

}  // namespace stint::comm
