// SPDX-License-Identifier: Apache-2.0
// Recursive halving and doubling, among a power of two: Rabenseifner, "Optimization of collective reduction
// operations", ICCS 2004. In round k rank r halves what it still adds with its partner r xor 2^k, neighbours
// first, which is the order of communicator.h: r keeps the chunks that agree with it in the bits up to k.
// What is far apart in rank, and so in the topology, exchanges least. All rounds run side by side, each on
// the segments that the one before has done with.
#include <bit>

#include "trainer/comm/ring.h"
#include "trainer/comm/tree_sum.h"

namespace stint::comm {
namespace {

// The chunks that agree with `rank` in the bits up to `round`, one segment after another, ascending.
struct Kept {
  int rank, round;
  std::size_t many;

  Kept(int ranks, int of, int in_round)
      : rank(of), round(in_round), many(static_cast<std::size_t>(ranks >> (in_round + 1))) {}
  std::size_t segment(std::size_t q) const { return q / many; }
  int chunk(std::size_t q) const {
    return (rank & ((1 << (round + 1)) - 1)) + (static_cast<int>(q % many) << (round + 1));
  }
  // The place of a chunk's segment among all.
  std::size_t place(int chunk, std::size_t index) const {
    return index * many + static_cast<std::size_t>(chunk >> (round + 1));
  }
};

void add(std::span<const std::byte> term, std::span<float> sum) {
  const std::array<const float*, 2> terms{sum.data(), reinterpret_cast<const float*>(term.data())};
  float* to = sum.data();
  tree_sum(terms, std::span<float* const>(&to, 1), sum.size());
}

}  // namespace

RingCommunicator::Reduced RingCommunicator::add_halving(const Operation& operation,
                                                        const Segments& segments) {
  const int rounds = std::countr_zero(static_cast<unsigned>(size()));
  const Flow* before = nullptr;
  std::vector<const Flow*> all;
  for (int k = 0; k < rounds; ++k) {
    const int partner = rank() ^ (1 << k);
    const Kept ours(size(), rank(), k), theirs(size(), partner, k), earlier(size(), rank(), k - 1);
    Flow& flow = add_flow(operation);
    auto& scratch = scratch_[flows_.size() - 1];
    scratch.resize(kWindow * Segments::kBytes);
    const auto place = [&scratch](std::size_t q) { return scratch.data() + q % kWindow * Segments::kBytes; };
    const auto ours_at = [=](std::size_t q) { return segments.at(ours.chunk(q), ours.segment(q)); };
    flow.from = flow.to = [partner](std::size_t) { return partner; };
    flow.receives = flow.sends = ours.many * segments.per_chunk();
    flow.target = [=](std::size_t q) { return std::span(place(q), ours_at(q).bytes().size()); };
    flow.take_in = [=](std::size_t q) {
      const Data sum = ours_at(q);
      add({place(q), sum.bytes().size()}, sum.as<float>());
    };
    flow.source = [=](std::size_t q) { return segments.at(theirs.chunk(q), theirs.segment(q)).bytes(); };
    if (before != nullptr) {
      const auto added = [=](const Kept& kept, std::size_t q) {
        return before->received.done() > earlier.place(kept.chunk(q), kept.segment(q));
      };
      flow.may_take = [=](std::size_t q) { return added(ours, q); };
      flow.may_send = [=](std::size_t q) { return added(theirs, q); };
    }
    before = &flow;
    all.push_back(&flow);
  }
  if (before == nullptr) return {};
  return {[before](std::size_t index) { return before->received.done() > index; },
          [all, self = rank(), ranks = size()](int chunk, std::size_t index) {
            const int k = std::countr_zero(static_cast<unsigned>(chunk ^ self));
            const Kept theirs(ranks, self ^ (1 << k), k);
            return all[static_cast<std::size_t>(k)]->sent.done() > theirs.place(chunk, index);
          }};
}

// The same backwards: the last round first, and in round k what r has goes to r xor 2^k.
void RingCommunicator::add_doubling(const Operation& operation, const Segments& segments,
                                    const Reduced& reduced) {
  const int self = rank(), ranks = size();
  const int rounds = std::countr_zero(static_cast<unsigned>(ranks));
  std::vector<const Flow*> by_round(static_cast<std::size_t>(rounds));
  for (int k = rounds - 1; k >= 0; --k) {
    const int partner = self ^ (1 << k);
    const Kept ours(ranks, self, k), theirs(ranks, partner, k);
    Flow& flow = add_flow(operation);
    flow.from = flow.to = [partner](std::size_t) { return partner; };
    flow.receives = flow.sends = ours.many * segments.per_chunk();
    flow.target = [=](std::size_t q) { return segments.at(theirs.chunk(q), theirs.segment(q)).bytes(); };
    flow.source = [=](std::size_t q) { return segments.at(ours.chunk(q), ours.segment(q)).bytes(); };
    if (reduced.given)
      flow.may_receive = [=](std::size_t q) { return reduced.given(theirs.chunk(q), theirs.segment(q)); };
    flow.may_send = [=](std::size_t q) {
      const int chunk = ours.chunk(q);
      if (chunk == self) return !reduced.own || reduced.own(ours.segment(q));
      const int came = std::countr_zero(static_cast<unsigned>(chunk ^ self));
      const Kept theirs_then(ranks, self ^ (1 << came), came);
      return by_round[static_cast<std::size_t>(came)]->received.done() >
             theirs_then.place(chunk, ours.segment(q));
    };
    by_round[static_cast<std::size_t>(k)] = &flow;
  }
}

}  // namespace stint::comm
