// SPDX-License-Identifier: Apache-2.0
// Pairwise exchange: every rank sends each chunk straight to its owner, who adds all of them in the order of
// communicator.h and rounds once. As many bytes as a ring would move, and bf16 stays bf16 on the wire. In
// step s of a round rank r sends to r+s and receives from r-s, so that no rank is everyone's target at once:
// Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH", Int. J.
// High Perform. Comput. Appl. 19 (2005), section 4.4.
#include "trainer/comm/ring.h"
#include "trainer/comm/tree_sum.h"

namespace stint::comm {
namespace {

// `others` holds a pointer for each rank but ours, whose term is `own`, and so becomes the sum.
template <Element T>
void fold(std::span<std::byte* const> others, int rank, std::span<T> own) {
  std::vector<const T*> terms;
  for (std::byte* term : others) terms.push_back(reinterpret_cast<const T*>(term));
  terms.insert(terms.begin() + rank, own.data());
  T* sum = own.data();
  tree_sum(terms, std::span<T* const>(&sum, 1), own.size());
}

}  // namespace

RingCommunicator::Reduced RingCommunicator::add_straight_reduction(const Operation& operation,
                                                                   const Segments& segments) {
  const int self = rank(), ranks = size();
  const auto others = static_cast<std::size_t>(ranks - 1);
  if (others == 0) return {};
  Flow& flow = add_flow(operation);
  // Receive q is segment q / others of our chunk from the rank that is q % others + 1 before us.
  const auto distance = [others](std::size_t q) { return static_cast<int>(q % others) + 1; };
  const auto sender_of = [=](std::size_t q) { return (self + ranks - distance(q)) % ranks; };
  const auto target_of = [=](std::size_t q) { return (self + distance(q)) % ranks; };
  const auto own = [=](std::size_t q) { return segments.at(self, q / others); };
  const std::size_t places = others + kWindow;  // a round, and what may be under way beyond it
  auto& scratch = scratch_[flows_.size() - 1];
  scratch.resize(places * Segments::kBytes);
  const auto place = [&scratch, places](std::size_t q) {
    return scratch.data() + q % places * Segments::kBytes;
  };
  flow.from = sender_of;
  flow.to = target_of;
  flow.receives = flow.sends = others * segments.per_chunk();
  flow.target = [=](std::size_t q) { return std::span(place(q), own(q).bytes().size()); };
  flow.take_in = [=](std::size_t last) {
    if (last % others != others - 1) return;
    std::vector<std::byte*> terms(others);
    for (std::size_t q = last + 1 - others; q <= last; ++q) {
      const int sender = sender_of(q);
      terms[static_cast<std::size_t>(sender < self ? sender : sender - 1)] = place(q);
    }
    const Data sum = own(last);
    if (sum.type() == Type::kFloat)
      fold(terms, self, sum.as<float>());
    else
      fold(terms, self, sum.as<Bf16>());
  };
  flow.source = [=](std::size_t q) { return segments.at(target_of(q), q / others).bytes(); };
  return {[&flow, others](std::size_t index) { return flow.received.done() >= (index + 1) * others; },
          [=, &flow](int chunk, std::size_t index) {
            const int ahead = (chunk - self + ranks) % ranks;
            return flow.sent.done() > index * others + static_cast<std::size_t>(ahead - 1);
          }};
}

RingCommunicator::Reduced RingCommunicator::add_reduction(const Operation& operation,
                                                          const Segments& segments, Reduce way) {
  return way == Reduce::kHalving ? add_halving(operation, segments)
                                 : add_straight_reduction(operation, segments);
}

Status RingCommunicator::reduce_scatter(Data data) {
  return reduce_scatter(data, own_cut());
}

Status RingCommunicator::reduce_scatter(Data data, const Cut& cut) {
  return perform("reduce_scatter", [&](const Operation& operation) {
    const Segments segments(data, size(), cut);
    add_reduction(operation, segments, ways_for(segments.bytes(), data.type()).reduce);
    return run(operation);
  });
}

}  // namespace stint::comm
