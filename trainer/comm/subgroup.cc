// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/subgroup.h"

#include <algorithm>
#include <array>

#include "trainer/comm/segments.h"
#include "trainer/comm/tree_sum.h"

namespace stint::comm {
namespace {

Group group_of(const Communicator& whole, const std::vector<int>& members) {
  Group group{whole.epoch(), -1, {}};
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (members[i] == whole.rank()) group.rank = static_cast<int>(i);
    group.members.push_back(whole.members().at(static_cast<std::size_t>(members[i])));
  }
  return group;
}

// Whom `rank` meets in this round of `players` - 1; `players` is even.
int opponent(int players, int round, int rank) {
  const int turning = players - 1;
  if (rank == turning) {
    for (int other = 0; other < turning; ++other)
      if (2 * other % turning == round) return other;
  }
  const int other = (round + turning - rank) % turning;
  return other == rank ? turning : other;
}

template <Element T>
void add_terms(std::byte* const* terms, int size, Data sum) {
  std::vector<const T*> from(static_cast<std::size_t>(size));
  for (std::size_t rank = 0; rank < from.size(); ++rank) from[rank] = reinterpret_cast<const T*>(terms[rank]);
  T* to = sum.as<T>().data();
  tree_sum(from, std::span<T* const>(&to, 1), sum.count());
}

}  // namespace

Subgroup::Subgroup(Communicator& whole, std::vector<int> members)
    : Communicator(group_of(whole, members), whole.timeout()),
      whole_(whole),
      direct_(whole.among(members)),
      ranks_(std::move(members)) {}

template <typename Out, typename In>
Status Subgroup::with_each(Out&& out, In&& in) {
  const int players = size() + size() % 2;
  for (int round = 0; round + 1 < players; ++round) {
    const int peer = opponent(players, round, rank());
    if (peer >= size()) continue;
    const bool first = rank() < peer;
    if (first)
      if (Status status = send(out(peer), peer); !status) return status;
    if (Status status = receive(in(peer), peer); !status) return status;
    if (!first)
      if (Status status = send(out(peer), peer); !status) return status;
  }
  return {};
}

Status Subgroup::reduce_scatter(Data data) {
  if (direct_ != nullptr) return direct_->reduce_scatter(data);
  if (size() == 1) return {};
  const Segments segments(data, size(), {size(), 0, 1});
  scratch_.resize(members().size() * Segments::kBytes);
  for (std::size_t index = 0; index < segments.per_chunk(); ++index) {
    const Data own = segments.at(rank(), index);
    std::vector<std::byte*> terms;
    for (int peer = 0; peer < size(); ++peer)
      terms.push_back(peer == rank() ? own.bytes().data()
                                     : scratch_.data() + static_cast<std::size_t>(peer) * Segments::kBytes);
    const auto in = [&](int peer) {
      return std::span(terms[static_cast<std::size_t>(peer)], own.bytes().size());
    };
    if (Status status = with_each([&](int peer) { return segments.at(peer, index).bytes(); }, in); !status)
      return status;
    if (data.type() == Type::kFloat)
      add_terms<float>(terms.data(), size(), own);
    else
      add_terms<Bf16>(terms.data(), size(), own);
  }
  return {};
}

Status Subgroup::all_gather(Data data) {
  if (direct_ != nullptr) return direct_->all_gather(data);
  const auto chunk = [&](int of) { return data.part(chunk_of(data.count(), size(), of)).bytes(); };
  return with_each([&](int) { return chunk(rank()); }, chunk);
}

Status Subgroup::all_reduce(Data data) {
  if (direct_ != nullptr) return direct_->all_reduce(data);
  if (Status status = reduce_scatter(data); !status) return status;
  return all_gather(data);
}

// Down a binomial tree, whose nodes count from the root.
Status Subgroup::broadcast(std::span<std::byte> data, int root) {
  if (direct_ != nullptr) return direct_->broadcast(data, root);
  const int node = (rank() + size() - root) % size();
  const auto rank_of = [&](int of) { return (of + root) % size(); };
  int step = 1;
  while (step < size() && (node & step) == 0) step *= 2;
  if (node > 0)
    if (Status status = receive(data, rank_of(node - step)); !status) return status;
  for (step /= 2; step > 0; step /= 2)
    if (node + step < size())
      if (Status status = send(data, rank_of(node + step)); !status) return status;
  return {};
}

Status Subgroup::barrier() {
  if (direct_ != nullptr) return direct_->barrier();
  std::array<std::byte, 1> nothing{};
  const auto byte = [&](int) { return std::span(nothing); };
  return with_each(byte, byte);
}

Status Subgroup::send(std::span<const std::byte> data, int to) {
  return data.empty() ? Status{} : whole_.send(data, ranks_.at(static_cast<std::size_t>(to)));
}

Status Subgroup::receive(std::span<std::byte> data, int from) {
  return data.empty() ? Status{} : whole_.receive(data, ranks_.at(static_cast<std::size_t>(from)));
}

}  // namespace stint::comm
