// SPDX-License-Identifier: Apache-2.0
// Second half of the ring all-reduce of Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for
// clusters of workstations", J. Parallel Distrib. Comput. 69 (2009): each chunk goes once round the ring,
// its segments following each other. Or each rank sends its chunk straight to all others, which takes no
// turns.
#include "trainer/comm/ring.h"

namespace stint::comm {

void RingCommunicator::add_ring(const Operation& operation, const Segments& segments,
                                const Reduced& reduced) {
  const int self = rank(), ranks = size(), to = right(), from = left();
  const std::size_t per_step = segments.per_chunk();
  Flow& flow = add_flow(operation);
  const auto chunk = [=](std::size_t q, int ahead) {
    return ((self - static_cast<int>(q / per_step) - ahead) % ranks + ranks) % ranks;
  };
  const auto passed = [=](std::size_t q, int ahead) {
    return segments.at(chunk(q, ahead), q % per_step).bytes();
  };
  flow.from = [from](std::size_t) { return from; };
  flow.to = [to](std::size_t) { return to; };
  flow.receives = flow.sends = static_cast<std::size_t>(ranks - 1) * per_step;
  flow.target = [=](std::size_t q) { return passed(q, 1); };
  flow.source = [=](std::size_t q) { return passed(q, 0); };
  if (reduced.given)
    flow.may_receive = [=](std::size_t q) { return reduced.given(chunk(q, 1), q % per_step); };
  flow.may_send = [=, &flow](std::size_t q) {
    if (q < per_step) return !reduced.own || reduced.own(q);
    return flow.received.done() > q - per_step;
  };
}

void RingCommunicator::add_straight_gathering(const Operation& operation, const Segments& segments,
                                              const Reduced& reduced) {
  const int self = rank(), ranks = size();
  const auto others = static_cast<std::size_t>(ranks - 1);
  Flow& flow = add_flow(operation);
  const auto distance = [others](std::size_t q) { return static_cast<int>(q % others) + 1; };
  const auto sender = [=](std::size_t q) { return (self + ranks - distance(q)) % ranks; };
  flow.from = sender;
  flow.to = [=](std::size_t q) { return (self + distance(q)) % ranks; };
  flow.receives = flow.sends = others * segments.per_chunk();
  flow.target = [=](std::size_t q) { return segments.at(sender(q), q / others).bytes(); };
  flow.source = [=](std::size_t q) { return segments.at(self, q / others).bytes(); };
  if (reduced.given) flow.may_receive = [=](std::size_t q) { return reduced.given(sender(q), q / others); };
  if (reduced.own) flow.may_send = [=](std::size_t q) { return reduced.own(q / others); };
}

void RingCommunicator::add_gathering(const Operation& operation, const Segments& segments, Gather way,
                                     const Reduced& reduced) {
  if (size() == 1) return;
  switch (way) {
    case Gather::kStraight:
      return add_straight_gathering(operation, segments, reduced);
    case Gather::kRing:
      return add_ring(operation, segments, reduced);
    case Gather::kDoubling:
      return add_doubling(operation, segments, reduced);
  }
}

Status RingCommunicator::all_gather(Data data) {
  return all_gather(data, own_cut());
}

Status RingCommunicator::all_gather(Data data, const Cut& cut) {
  return perform("all_gather", [&](const Operation& operation) {
    const Segments segments(data, size(), cut);
    add_gathering(operation, segments, ways_for(segments.bytes(), data.type()).gather, {});
    return run(operation);
  });
}

}  // namespace stint::comm
