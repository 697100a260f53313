// SPDX-License-Identifier: Apache-2.0
// The collectives among nodes of several ranks each: in shared memory within a node, over a transport between
// nodes, where every rank drives a slice of its own among the ranks of its place in the other nodes.
//
// The order of additions is that of communicator.h where each node's ranks are a subtree of it: as many on
// every node, a power of two, in aligned places. Other layouts want a RingCommunicator over all ranks.
//
// Whatever fails on one side ends the other: a rank that waits for the network looks after its node's ranks,
// one that waits for its node keeps the network going, and each tells of the first failure on both sides.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "trainer/comm/communicator.h"
#include "trainer/comm/ring.h"
#include "trainer/comm/shm.h"

namespace stint::comm {

// Whether the additions of each node are a subtree. nodes[r]: the node of rank r, whatever its number.
bool fits_hierarchy(std::span<const int> nodes);
// The ranks that share a node with `rank`.
std::vector<int> ranks_beside(std::span<const int> nodes, int rank);

class HierarchicalCommunicator final : public Communicator {
 public:
  // The transport's ranks lie on nodes that fit. The segment is that of our node's ranks in their order.
  HierarchicalCommunicator(Transport& transport, ShmSegment segment, std::span<const int> nodes,
                           std::uint32_t epoch, std::chrono::milliseconds timeout);
  HierarchicalCommunicator(std::unique_ptr<Transport> transport, ShmSegment segment,
                           std::span<const int> nodes, std::uint32_t epoch,
                           std::chrono::milliseconds timeout);

  std::span<std::byte> memory() const override { return within_.memory(); }
  // The part between nodes, to choose its ways: its ranks are those of our place in each node.
  RingCommunicator& across() { return across_; }

  // Those of our node, and those of our place in each node.
  Communicator* among(const std::vector<int>& ranks) override;

  Status reduce_scatter(Data data) override;
  Status all_gather(Data data) override;
  Status all_reduce(Data data) override;
  Status broadcast(std::span<std::byte> data, int root) override;
  Status barrier() override;
  Status send(std::span<const std::byte> data, int to) override;
  Status receive(std::span<std::byte> data, int from) override;
  void revoke() override;

 private:
  using Clock = std::chrono::steady_clock;

  int places() const { return within_.size(); }
  int place() const { return within_.rank(); }
  int node() const { return across_.rank(); }
  int node_of(int rank) const { return rank / places(); }
  int place_of(int rank) const { return rank % places(); }

  using Body = std::function<Status()>;
  // Runs the body's parts one after the other within one time-out.
  Status perform(const char* name, const Body& body);
  Status in_order(std::span<const Body> parts);
  Status watch();

  // The chunks of a node's ranks lie side by side.
  Data of_node(Data data, int node) const;
  Cut across_cut() const { return {size(), place(), places()}; }
  Status reduce_scatter_floats(std::span<float> data);
  Status all_reduce_floats(std::span<float> data);
  Status all_reduce_small(Data data);
  // bf16 terms are summed in fp32 across the nodes too, so they are widened, some at a time.
  Status reduce_scatter_widened(std::span<Bf16> data);
  Status all_reduce_widened(std::span<Bf16> data);
  Status broadcast_sliced(std::span<std::byte> data, int root);

  std::unique_ptr<Transport> owned_;
  Transport& transport_;
  ShmCommunicator within_;
  RingCommunicator across_;
  bool collective_ = false;       // under way
  Clock::time_point deadline_{};  // of the operation
  Status broken_;                 // once not Ok, the answer to everything
  std::vector<float> widened_;
};

}  // namespace stint::comm
