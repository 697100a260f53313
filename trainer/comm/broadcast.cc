// SPDX-License-Identifier: Apache-2.0
// Small: a binomial tree, whose nodes count from the root. Large, a pipelined chain: the segments follow each
// other from the root round the ring; Chan, Heimlich, Purkayastha and van de Geijn, "Collective
// communication: theory, practice, and experience", Concurr. Comput. 19 (2007).
#include <algorithm>

#include "trainer/comm/ring.h"

namespace stint::comm {
namespace {
constexpr std::size_t kSegment = 256 * 1024;
constexpr std::size_t kSmall = 32 * 1024;
}  // namespace

Status RingCommunicator::broadcast(std::span<std::byte> data, int root) {
  return perform("broadcast", [&](const Operation& operation) {
    return data.size() <= kSmall ? broadcast_small(operation, data, root)
                                 : broadcast_chain(operation, data, root);
  });
}

Status RingCommunicator::broadcast_small(const Operation& operation, std::span<std::byte> data, int root) {
  if (data.empty()) return {};
  const int node = (rank() + size() - root) % size();
  const auto rank_of = [&](int of) { return (of + root) % size(); };
  int step = 1;
  while (step < size() && (node & step) == 0) step *= 2;
  if (node > 0) {
    const int from = rank_of(node - step);
    if (Status status = wait(operation, post_receive(operation, from, data), named(from)); !status)
      return status;
  }
  std::vector<std::pair<int, Transport::Request>> sends;
  for (step /= 2; step > 0; step /= 2)
    if (node + step < size()) {
      const int to = rank_of(node + step);
      sends.emplace_back(to, post_send(operation, to, data));
    }
  for (const auto& [to, request] : sends)
    if (Status status = wait(operation, request, named(to)); !status) return status;
  return {};
}

Status RingCommunicator::broadcast_chain(const Operation& operation, std::span<std::byte> data, int root) {
  const std::size_t segments = (data.size() + kSegment - 1) / kSegment;
  const auto at = [&](std::size_t q) {
    return data.subspan(q * kSegment, std::min(kSegment, data.size() - q * kSegment));
  };
  Flow& flow = add_flow(operation);
  flow.from = [&](std::size_t) { return left(); };
  flow.to = [&](std::size_t) { return right(); };
  flow.receives = rank() == root ? 0 : segments;
  flow.sends = right() == root ? 0 : segments;
  flow.target = at;
  flow.source = at;
  if (rank() != root) flow.may_send = [&](std::size_t q) { return flow.received.done() > q; };
  return run(operation);
}

}  // namespace stint::comm
