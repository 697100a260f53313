// SPDX-License-Identifier: Apache-2.0
// Pipelined chain: the segments follow each other from the root round the ring; Chan, Heimlich, Purkayastha
// and van de Geijn, "Collective communication: theory, practice, and experience", Concurr. Comput. 19 (2007).
#include <algorithm>
#include <limits>

#include "trainer/comm/ring.h"

namespace stint::comm {
namespace {
constexpr std::size_t kSegment = 256 * 1024;
}

Status RingCommunicator::broadcast(std::span<std::byte> data, int root) {
  return perform("broadcast", [&](const Operation& operation) {
    const std::size_t segments = (data.size() + kSegment - 1) / kSegment;
    const auto at = [&](std::size_t q) {
      return data.subspan(q * kSegment, std::min(kSegment, data.size() - q * kSegment));
    };
    Flow flow;
    flow.from = [&](std::size_t) { return left(); };
    flow.to = [&](std::size_t) { return right(); };
    flow.receives = rank() == root ? 0 : segments;
    flow.sends = right() == root ? 0 : segments;
    flow.lag = rank() == root ? std::numeric_limits<std::size_t>::max() : 0;
    flow.target = at;
    flow.source = at;
    return run(operation, flow);
  });
}

}  // namespace stint::comm
