// SPDX-License-Identifier: Apache-2.0
// The collectives over any Transport. What is copied goes round the ring of logical ranks 0, 1, …, size-1, 0,
// what is added goes straight to who adds it. Large buffers travel in segments, so that transfer and addition
// overlap. Each collective stands in a file of its own. After any but Ok the transport has been aborted.
// It can also be the part between nodes of a HierarchicalCommunicator.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "trainer/comm/communicator.h"
#include "trainer/comm/segments.h"
#include "trainer/comm/transport.h"

namespace stint::comm {

class RingCommunicator final : public Communicator {
 public:
  // The transport must outlive the communicator.
  RingCommunicator(Transport& transport, std::uint32_t epoch, std::chrono::milliseconds timeout);
  RingCommunicator(std::unique_ptr<Transport> transport, std::uint32_t epoch,
                   std::chrono::milliseconds timeout);

  // The whole that this is a part of.
  struct Whole {
    std::function<Status()> watch;               // asked while waiting: not Ok ends the operation
    std::function<void(const Status&)> failing;  // told before anybody else is
  };
  // Among some ranks of the transport.
  RingCommunicator(Transport& transport, Group group, std::chrono::milliseconds timeout, Whole whole);

  Status reduce_scatter(Data data) override;
  Status all_gather(Data data) override;
  Status all_reduce(Data data) override;
  Status broadcast(std::span<std::byte> data, int root) override;
  Status barrier() override;
  Status send(std::span<const std::byte> data, int to) override;
  Status receive(std::span<std::byte> data, int from) override;
  void revoke() override { revoked_.store(true, std::memory_order_release); }

  // For the whole. The same over chunks of more parts:
  Status reduce_scatter(Data data, const Cut& cut);
  Status all_gather(Data data, const Cut& cut);
  // Between us and any rank of the view:
  Status send_in_view(std::span<const std::byte> data, int to);
  Status receive_in_view(std::span<std::byte> data, int from);
  // It failed elsewhere: tells the neighbours and aborts the transport.
  void give_up(const Status& why);

 private:
  using Clock = std::chrono::steady_clock;

  static constexpr std::size_t kWindow = 4;  // messages under way each way

  struct Operation {
    const char* name;
    std::uint32_t number;
    Clock::time_point deadline;
  };

  // A stream of segments that come in and one of segments that go out. Send q leaves once receive q - lag has
  // been taken in; the first `lag` sends wait for nothing. Empty segments are not sent.
  struct Flow {
    std::size_t receives = 0, sends = 0, lag = 0;
    std::function<int(std::size_t)> from, to;
    std::function<std::span<std::byte>(std::size_t)> target;  // where receive q goes
    std::function<void(std::size_t)> take_in;  // called in order, after receive q; may be empty
    std::function<std::span<const std::byte>(std::size_t)> source;  // what send q takes
  };

  int named(int rank) const { return members()[static_cast<std::size_t>(rank)]; }  // in the view
  Cut own_cut() const { return {size(), 0, 1}; }
  Transport::Request post_send(const Operation& operation, int to, std::span<const std::byte> bytes) {
    return transport_.send(named(to), tag(operation, rank()), bytes);
  }
  Transport::Request post_receive(const Operation& operation, int from, std::span<std::byte> bytes) {
    return transport_.receive(named(from), tag(operation, from), bytes);
  }
  int left() const { return (rank() + size() - 1) % size(); }
  int right() const { return (rank() + 1) % size(); }
  // Messages of one operation from one rank, the sender, to another match in the order of sending.
  Tag tag(const Operation& operation, int sender) const;

  using Body = std::function<Status(const Operation&)>;
  // Runs the body as the next operation; on failure aborts the transport and remembers why.
  Status perform(const char* name, const Body& body);
  // The same for one between two ranks, `before` of which came before.
  Status perform_between(const char* name, std::uint32_t& before, const Body& body);
  Status attempt(const Operation& operation, const Body& body);
  // Messages of an operation's parts do not mix.
  Operation next_part(Operation operation);
  // One turn of waiting for `peer`, a rank of the view: progress, else let others run. Not Ok: time is up,
  // revoked, or it failed elsewhere.
  Status turn(const Operation& operation, int peer);
  Status wait(const Operation& operation, Transport::Request request, int peer);
  Status run(const Operation& operation, const Flow& flow);
  // Failure notices to and from the neighbours: whoever gives up says why, so that all end soon.
  void tell_neighbours(const Status& why);
  Status hear_neighbours();
  Status why_failed();
  Status reduce_chunks(const Operation& operation, Data data, const Cut& cut);
  Status gather_chunks(const Operation& operation, Data data, const Cut& cut);

  std::unique_ptr<Transport> owned_;
  Transport& transport_;
  std::uint32_t operations_ = 0;
  std::vector<std::uint32_t> sent_, received_;  // by rank of the view: messages outside collectives
  Whole whole_;
  Status broken_;  // once not Ok, the answer to everything
  std::vector<std::byte> scratch_;
  std::array<std::int32_t, 2> notice_{};  // one being received
  std::atomic<bool> revoked_ = false;
};

}  // namespace stint::comm
