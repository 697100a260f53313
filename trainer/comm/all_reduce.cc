// SPDX-License-Identifier: Apache-2.0
// Large: each chunk is summed once, on the rank that owns it, and copied from there. Small: every rank adds
// all, from the terms or by recursive doubling (exchange with r xor 2^k, neighbours first); the same numbers
// are added in the same order everywhere. Equal bits on every rank.
#include <algorithm>
#include <array>

#include "trainer/comm/ring.h"
#include "trainer/comm/tree_sum.h"

namespace stint::comm {
namespace {

template <Element T>
void add(std::span<const std::byte* const> terms, std::span<T> sum) {
  std::vector<const T*> typed;
  for (const std::byte* term : terms) typed.push_back(reinterpret_cast<const T*>(term));
  T* to = sum.data();
  tree_sum(typed, std::span<T* const>(&to, 1), sum.size());
}

}  // namespace

Status RingCommunicator::all_reduce(Data data) {
  return perform("all_reduce", [&](const Operation& operation) -> Status {
    if (size() == 1 || data.count() == 0) return {};
    const Ways ways = ways_for(data.bytes().size(), data.type());
    if (ways.all_reduce == AllReduce::kDirect) return reduce_directly(operation, data);
    if (ways.all_reduce == AllReduce::kDoubling) return reduce_by_doubling(operation, data);
    const Segments segments(data, size(), own_cut());
    add_gathering(operation, segments, ways.gather, add_reduction(operation, segments, ways.reduce));
    return run(operation);
  });
}

Status RingCommunicator::reduce_directly(const Operation& operation, Data data) {
  const int self = rank(), ranks = size();
  const auto bytes = data.bytes();
  Flow& flow = add_flow(operation);
  auto& scratch = scratch_.front();
  scratch.resize(std::max(scratch.size(), members().size() * bytes.size()));
  const auto term = [&](int of) {
    return std::span(scratch).subspan(static_cast<std::size_t>(of) * bytes.size(), bytes.size());
  };
  flow.from = [=](std::size_t q) { return (self + ranks - 1 - static_cast<int>(q)) % ranks; };
  flow.to = [=](std::size_t q) { return (self + 1 + static_cast<int>(q)) % ranks; };
  flow.receives = flow.sends = static_cast<std::size_t>(ranks - 1);
  flow.target = [&](std::size_t q) { return term(flow.from(q)); };
  flow.source = [=](std::size_t) { return bytes; };
  if (Status status = run(operation); !status) return status;
  std::vector<const std::byte*> terms;
  for (int of = 0; of < ranks; ++of) terms.push_back(of == self ? bytes.data() : term(of).data());
  if (data.type() == Type::kFloat)
    add(terms, data.as<float>());
  else
    add(terms, data.as<Bf16>());
  return {};
}

// Sums on their way are fp32.
Status RingCommunicator::reduce_by_doubling(const Operation& operation, Data data) {
  if (data.type() == Type::kFloat) return double_up(operation, data.as<float>());
  const auto values = data.as<Bf16>();
  widened_.resize(values.size());
  std::ranges::transform(values, widened_.begin(), to_float);
  Status status = double_up(operation, widened_);
  if (status) std::ranges::transform(widened_, values.begin(), to_bf16);
  return status;
}

Status RingCommunicator::double_up(const Operation& operation, std::span<float> data) {
  const auto bytes = std::as_writable_bytes(data);
  if (scratch_.empty()) scratch_.resize(1);
  auto& scratch = scratch_.front();
  scratch.resize(std::max(scratch.size(), bytes.size()));
  const auto in = std::span(scratch).first(bytes.size());
  for (int distance = 1; distance < size(); distance *= 2) {
    if (Status status = exchange(operation, rank() ^ distance, bytes, in); !status) return status;
    const std::array<const std::byte*, 2> terms{bytes.data(), in.data()};
    add(terms, data);
  }
  return {};
}

}  // namespace stint::comm
