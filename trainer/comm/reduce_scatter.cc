// SPDX-License-Identifier: Apache-2.0
// Pairwise exchange: every rank sends each chunk straight to its owner, who adds all of them in the order of
// communicator.h and rounds once. As many bytes as a ring would move, and bf16 stays bf16 on the wire. In
// step s of a round rank r sends to r+s and receives from r-s, so that no rank is everyone's target at once:
// Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH", Int. J.
// High Perform. Comput. Appl. 19 (2005), section 4.4.
#include <limits>

#include "trainer/comm/ring.h"
#include "trainer/comm/tree_sum.h"

namespace stint::comm {
namespace {

// `terms` holds a pointer for each rank but ours, whose term is `own`, and so becomes the sum.
template <Element T>
void fold(std::span<std::byte* const> others, int rank, std::span<T> own) {
  std::vector<const T*> terms;
  for (std::byte* term : others) terms.push_back(reinterpret_cast<const T*>(term));
  terms.insert(terms.begin() + rank, own.data());
  T* sum = own.data();
  tree_sum(terms, std::span<T* const>(&sum, 1), own.size());
}

}  // namespace

Status RingCommunicator::reduce_chunks(const Operation& operation, Data data, const Cut& cut) {
  const Segments segments(data, size(), cut);
  const auto others = static_cast<std::size_t>(size() - 1);
  // Receive q is segment q / others of our chunk from the rank that is q % others + 1 before us.
  const auto distance = [&](std::size_t q) { return static_cast<int>(q % others) + 1; };
  const auto target_of = [&](std::size_t q) { return (rank() + distance(q)) % size(); };
  const auto sender_of = [&](std::size_t q) { return (rank() + size() - distance(q)) % size(); };
  const auto own = [&](std::size_t q) { return segments.at(rank(), q / others); };
  const std::size_t places = others + kWindow;  // a round, and what may be under way beyond it
  const auto place = [&](std::size_t q) { return scratch_.data() + q % places * Segments::kBytes; };
  const auto fold_round = [&](std::size_t last) {
    std::vector<std::byte*> terms(others);
    for (std::size_t q = last + 1 - others; q <= last; ++q) {
      const int sender = sender_of(q);
      terms[static_cast<std::size_t>(sender < rank() ? sender : sender - 1)] = place(q);
    }
    const Data sum = own(last);
    if (sum.type() == Type::kFloat)
      fold(terms, rank(), sum.as<float>());
    else
      fold(terms, rank(), sum.as<Bf16>());
  };
  if (others == 0) return {};
  scratch_.resize(places * Segments::kBytes);

  Flow flow;
  flow.from = sender_of;
  flow.to = target_of;
  flow.receives = flow.sends = others * segments.per_chunk();
  flow.lag = std::numeric_limits<std::size_t>::max();
  flow.target = [&](std::size_t q) { return std::span(place(q), own(q).bytes().size()); };
  flow.take_in = [&](std::size_t q) {
    if (q % others == others - 1) fold_round(q);
  };
  flow.source = [&](std::size_t q) { return segments.at(target_of(q), q / others).bytes(); };
  return run(operation, flow);
}

Status RingCommunicator::reduce_scatter(Data data) {
  return reduce_scatter(data, own_cut());
}

Status RingCommunicator::reduce_scatter(Data data, const Cut& cut) {
  return perform("reduce_scatter",
                 [&](const Operation& operation) { return reduce_chunks(operation, data, cut); });
}

}  // namespace stint::comm
