// SPDX-License-Identifier: Apache-2.0
// All ranks of a place form a ring of their own, one a node. "Split rail" in UCC's words.
#include "trainer/comm/hierarchical.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <iterator>

#include "base/error.h"

namespace stint::comm {
namespace {

constexpr std::size_t kSmall = 4096;         // bytes that one rank of a node takes across
constexpr std::size_t kWidened = 256 << 10;  // floats at a time, 1 MiB

Group beside(std::span<const int> nodes, int rank, std::uint32_t epoch) {
  auto members = ranks_beside(nodes, rank);
  const auto own = std::ranges::find(members, rank) - members.begin();
  return {epoch, static_cast<int>(own), std::move(members)};
}

Group same_place(std::span<const int> nodes, int rank, std::uint32_t epoch) {
  const int places = static_cast<int>(ranks_beside(nodes, rank).size());
  Group group{epoch, rank / places, {}};
  for (int r = rank % places; r < static_cast<int>(nodes.size()); r += places) group.members.push_back(r);
  return group;
}

std::span<std::byte> slice_of(std::span<std::byte> data, int parts, int part) {
  const Range range = chunk_of(data.size(), parts, part);
  return data.subspan(range.begin, range.size());
}

void widen(std::span<const Bf16> from, float* to) {
  std::ranges::transform(from, to, to_float);
}

void narrow(std::span<const float> from, Bf16* to) {
  std::ranges::transform(from, to, to_bf16);
}

}  // namespace

std::vector<int> ranks_beside(std::span<const int> nodes, int rank) {
  std::vector<int> beside;
  for (int r = 0; r < static_cast<int>(nodes.size()); ++r)
    if (nodes[static_cast<std::size_t>(r)] == nodes[static_cast<std::size_t>(rank)]) beside.push_back(r);
  return beside;
}

bool fits_hierarchy(std::span<const int> nodes) {
  if (nodes.empty()) return false;
  const std::size_t places = ranks_beside(nodes, 0).size();
  if (!std::has_single_bit(places) || nodes.size() % places != 0) return false;
  for (std::size_t first = 0; first < nodes.size(); first += places) {
    const auto block = nodes.subspan(first, places);
    const bool alike = std::ranges::all_of(block, [&](int node) { return node == block.front(); });
    if (!alike || static_cast<std::size_t>(std::ranges::count(nodes, block.front())) != places) return false;
  }
  return true;
}

HierarchicalCommunicator::HierarchicalCommunicator(Transport& transport, ShmSegment segment,
                                                   std::span<const int> nodes, std::uint32_t epoch,
                                                   std::chrono::milliseconds timeout)
    : Communicator(whole_view(epoch, transport.rank(), transport.size()), timeout),
      transport_(transport),
      within_(std::move(segment), beside(nodes, transport.rank(), epoch), timeout),
      across_(transport, same_place(nodes, transport.rank(), epoch), timeout,
              {[this] { return watch(); }, [this](const Status& why) { within_.give_up(why); }}) {
  if (!fits_hierarchy(nodes))
    fail("hierarchy: {} ranks, {} of them on this node, are no nodes of equally many ranks, a power of two",
         size(), within_.size());
  within_.set_meanwhile([this] { transport_.progress(); });
}

HierarchicalCommunicator::HierarchicalCommunicator(std::unique_ptr<Transport> transport, ShmSegment segment,
                                                   std::span<const int> nodes, std::uint32_t epoch,
                                                   std::chrono::milliseconds timeout)
    : HierarchicalCommunicator(*transport, std::move(segment), nodes, epoch, timeout) {
  owned_ = std::move(transport);
}

// Between collectives a rank of the node may leave in peace.
Status HierarchicalCommunicator::watch() {
  return collective_ ? within_.watch() : within_.news();
}

Status HierarchicalCommunicator::perform(const char* name, const Body& body) {
  if (!broken_) return broken_;
  deadline_ = Clock::now() + timeout();
  Status status = body();
  if (status) return status;
  status.detail = fmt::format("{}: {}", name, status.detail);
  broken_ = status;
  within_.give_up(status);
  across_.give_up(status);
  return status;
}

Status HierarchicalCommunicator::in_order(std::span<const Body> parts) {
  collective_ = true;
  Status status;
  for (const Body& part : parts) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline_ - Clock::now());
    within_.set_timeout(std::max(left, std::chrono::milliseconds(1)));
    across_.set_timeout(within_.timeout());
    status = part();
    if (!status) break;
  }
  collective_ = false;
  within_.set_timeout(timeout());
  across_.set_timeout(timeout());
  return status;
}

// What fails there is told as ever: across_ tells within_, whose word across_ looks for.
Communicator* HierarchicalCommunicator::among(const std::vector<int>& ranks) {
  if (ranks == within_.members()) return &within_;
  if (ranks == across_.members()) return &across_;
  return Communicator::among(ranks);
}

Data HierarchicalCommunicator::of_node(Data data, int node) const {
  const int first = node * places();
  return data.part({chunk_of(data.count(), size(), first).begin,
                    chunk_of(data.count(), size(), first + places() - 1).end});
}

Status HierarchicalCommunicator::all_reduce(Data data) {
  return perform("all_reduce", [&] {
    if (data.bytes().size() <= kSmall) return all_reduce_small(data);
    return data.type() == Type::kFloat ? all_reduce_floats(data.as<float>())
                                       : all_reduce_widened(data.as<Bf16>());
  });
}

// Every rank has the sum of its node after one meeting. One rank a node takes it across and hands the rest
// on.
Status HierarchicalCommunicator::all_reduce_small(Data data) {
  std::span<float> sums;
  if (data.type() == Type::kFloat) {
    sums = data.as<float>();
  } else {
    widened_.resize(data.count());
    widen(data.as<Bf16>(), widened_.data());
    sums = widened_;
  }
  const std::array<Body, 3> parts{[&] { return within_.all_reduce(sums); },
                                  [&] { return place() == 0 ? across_.all_reduce(sums) : Status{}; },
                                  [&] { return within_.broadcast(std::as_writable_bytes(sums), 0); }};
  Status status = in_order(parts);
  if (status && data.type() == Type::kBf16) narrow(sums, data.as<Bf16>().data());
  return status;
}

Status HierarchicalCommunicator::all_reduce_floats(std::span<float> data) {
  const Range slice = chunk_of(data.size(), places(), place());
  const std::array<Body, 3> parts{[&] { return within_.reduce_scatter(data); },
                                  [&] { return across_.all_reduce(data.subspan(slice.begin, slice.size())); },
                                  [&] { return within_.all_gather(data); }};
  return in_order(parts);
}

Status HierarchicalCommunicator::all_reduce_widened(std::span<Bf16> data) {
  for (std::size_t at = 0; at < data.size(); at += kWidened) {
    const auto part = data.subspan(at, std::min(kWidened, data.size() - at));
    const Range slice = chunk_of(part.size(), places(), place());
    widened_.resize(part.size());
    widen(part, widened_.data());
    const std::span<float> sums = std::span(widened_).subspan(slice.begin, slice.size());
    const std::array<Body, 3> parts{[&] { return within_.reduce_scatter(widened_); },
                                    [&] { return across_.all_reduce(sums); },
                                    [&] {
                                      narrow(sums, part.data() + slice.begin);
                                      return within_.all_gather(part);
                                    }};
    if (Status status = in_order(parts); !status) return status;
  }
  return {};
}

Status HierarchicalCommunicator::reduce_scatter(Data data) {
  return perform("reduce_scatter", [&] {
    return data.type() == Type::kFloat ? reduce_scatter_floats(data.as<float>())
                                       : reduce_scatter_widened(data.as<Bf16>());
  });
}

Status HierarchicalCommunicator::reduce_scatter_floats(std::span<float> data) {
  std::vector<Body> parts;
  for (int n = 0; n < across_.size(); ++n)
    parts.emplace_back([&, n] { return within_.reduce_scatter(of_node(data, n)); });
  parts.emplace_back([&] { return across_.reduce_scatter(data, across_cut()); });
  return in_order(parts);
}

// Some of each rank's chunk at a time: these are the ranks' chunks of what they are together.
Status HierarchicalCommunicator::reduce_scatter_widened(std::span<Bf16> data) {
  const std::size_t most = std::max<std::size_t>(1, kWidened / static_cast<std::size_t>(size()));
  const auto part = [&](int rank, std::size_t at) {
    const Range chunk = chunk_of(data.size(), size(), rank);
    const std::size_t begin = std::min(chunk.begin + at, chunk.end);
    return data.subspan(begin, std::min(most, chunk.end - begin));
  };
  for (std::size_t at = 0; at < chunk_of(data.size(), size(), 0).size(); at += most) {
    widened_.clear();
    for (int r = 0; r < size(); ++r)
      std::ranges::transform(part(r, at), std::back_inserter(widened_), to_float);
    if (Status status = reduce_scatter_floats(widened_); !status) return status;
    const Range own = chunk_of(widened_.size(), size(), rank());
    narrow(std::span(widened_).subspan(own.begin, own.size()), part(rank(), at).data());
  }
  return {};
}

Status HierarchicalCommunicator::all_gather(Data data) {
  return perform("all_gather", [&] {
    std::vector<Body> parts{[&] { return across_.all_gather(data, across_cut()); }};
    for (int n = 0; n < across_.size(); ++n)
      parts.emplace_back([&, n] { return within_.all_gather(of_node(data, n)); });
    return in_order(parts);
  });
}

Status HierarchicalCommunicator::broadcast(std::span<std::byte> data, int root) {
  return perform("broadcast", [&]() -> Status {
    if (data.size() > kSmall) return broadcast_sliced(data, root);
    const std::array<Body, 2> parts{
        [&] { return place() == place_of(root) ? across_.broadcast(data, node_of(root)) : Status{}; },
        [&] { return within_.broadcast(data, place_of(root)); }};
    return in_order(parts);
  });
}

// The root's node first has all of it, so that each of its ranks can send a slice.
Status HierarchicalCommunicator::broadcast_sliced(std::span<std::byte> data, int root) {
  const bool gives = node() == node_of(root);
  std::vector<Body> parts;
  if (gives) parts.emplace_back([&] { return within_.broadcast(data, place_of(root)); });
  parts.emplace_back([&] { return across_.broadcast(slice_of(data, places(), place()), node_of(root)); });
  for (int p = 0; p < places() && !gives; ++p)
    parts.emplace_back([&, p] { return within_.broadcast(slice_of(data, places(), p), p); });
  return in_order(parts);
}

// The second meeting of the node keeps all there until the last has heard of the other nodes.
Status HierarchicalCommunicator::barrier() {
  return perform("barrier", [&] {
    const std::array<Body, 3> parts{[&] { return within_.barrier(); }, [&] { return across_.barrier(); },
                                    [&] { return within_.barrier(); }};
    return in_order(parts);
  });
}

Status HierarchicalCommunicator::send(std::span<const std::byte> data, int to) {
  return perform("send", [&] {
    within_.set_timeout(timeout());
    across_.set_timeout(timeout());
    return node_of(to) == node() ? within_.send(data, place_of(to)) : across_.send_in_view(data, to);
  });
}

Status HierarchicalCommunicator::receive(std::span<std::byte> data, int from) {
  return perform("receive", [&] {
    within_.set_timeout(timeout());
    across_.set_timeout(timeout());
    return node_of(from) == node() ? within_.receive(data, place_of(from))
                                   : across_.receive_in_view(data, from);
  });
}

void HierarchicalCommunicator::revoke() {
  across_.revoke();
  within_.revoke();
}

}  // namespace stint::comm
