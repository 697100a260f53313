// SPDX-License-Identifier: Apache-2.0
// The collectives over any Transport, in the ways of ways.h. Large buffers travel in segments, so that
// transfer, addition and what follows overlap. Each collective stands in a file of its own. After any but Ok
// the transport has been aborted. It can also be the part between nodes of a HierarchicalCommunicator.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "trainer/comm/communicator.h"
#include "trainer/comm/segments.h"
#include "trainer/comm/transport.h"
#include "trainer/comm/ways.h"

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
  void revoke() override {
    revoked_.store(true, std::memory_order_release);
    transport_.wake();
  }

  // A guess, until it is told better. All ranks choose alike. Those must fit.
  const WaysBySize& ways() const { return ways_; }
  void set_ways(WaysBySize ways);
  // Tries all ways on several sizes, for as many as `limit` allows, and takes the best. Every rank calls
  // this; what they choose is the same.
  Status measure_ways(std::chrono::milliseconds limit);

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

  struct Operation {
    const char* name;
    std::uint32_t number;
    Clock::time_point deadline;
  };

  static constexpr std::size_t kWindow = 4;  // messages under way each way

  // Messages under way, oldest first.
  class Window {
   public:
    bool full() const { return end_ - begin_ == kWindow; }
    bool empty() const { return end_ == begin_; }
    // Nothing: an empty segment, which is not sent.
    void push(std::optional<Transport::Request> request) { requests_[end_++ % kWindow] = request; }
    Outcome test_oldest(Transport& transport) {
      auto& request = requests_[begin_ % kWindow];
      const Outcome outcome = request ? transport.test(*request) : Outcome::kDone;
      if (outcome == Outcome::kDone) request.reset();
      return outcome;
    }
    void pop() { ++begin_; }
    std::size_t done() const { return begin_; }
    std::size_t posted() const { return end_; }

   private:
    std::array<std::optional<Transport::Request>, kWindow> requests_;
    std::size_t begin_ = 0, end_ = 0;
  };

  // A stream of segments that come in and one of segments that go out, each in order. Flows of an operation
  // run side by side.
  struct Flow {
    std::size_t receives = 0, sends = 0;
    std::function<int(std::size_t)> from, to;
    std::function<std::span<std::byte>(std::size_t)> target;        // where receive q goes
    std::function<std::span<const std::byte>(std::size_t)> source;  // what send q takes
    // Empty: nothing to wait for, nothing to do.
    std::function<bool(std::size_t)> may_receive;  // the target is free
    std::function<bool(std::size_t)> may_take;     // what it is added to is there
    std::function<void(std::size_t)> take_in;      // after receive q
    std::function<bool(std::size_t)> may_send;     // the source is there
    Operation operation{};
    Window received, sent;

    bool over() const { return received.done() == receives && sent.done() == sends; }
  };
  // What a reduction lets others know, for what comes after it.
  struct Reduced {
    std::function<bool(std::size_t)> own;         // segment `index` of our chunk has its sum
    std::function<bool(int, std::size_t)> given;  // our term of a segment of another's chunk has left
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
  // One turn of waiting for `peer`, a rank of the view: progress, else a spin or a sleep. Not Ok: time is up,
  // revoked, or it failed elsewhere.
  Status turn(const Operation& operation, int peer);
  void idle(const Operation& operation);
  Status wait(const Operation& operation, Transport::Request request, int peer);
  // Flows stay where they are until the next operation.
  Flow& add_flow(const Operation& operation);
  Status run(const Operation& operation);
  Outcome advance(Flow& flow);
  void post(Flow& flow);

  // Failure notices to and from the neighbours: whoever gives up says why, so that all end soon.
  void tell_neighbours(const Status& why);
  Status hear_neighbours();
  Status why_failed();

  Status exchange(const Operation& operation, int peer, std::span<const std::byte> out,
                  std::span<std::byte> in);
  Reduced add_reduction(const Operation& operation, const Segments& segments, Reduce way);
  void add_gathering(const Operation& operation, const Segments& segments, Gather way,
                     const Reduced& reduced);
  Reduced add_straight_reduction(const Operation& operation, const Segments& segments);
  Reduced add_halving(const Operation& operation, const Segments& segments);
  void add_straight_gathering(const Operation& operation, const Segments& segments, const Reduced& reduced);
  void add_ring(const Operation& operation, const Segments& segments, const Reduced& reduced);
  void add_doubling(const Operation& operation, const Segments& segments, const Reduced& reduced);
  Status reduce_directly(const Operation& operation, Data data);
  Status reduce_by_doubling(const Operation& operation, Data data);
  Status double_up(const Operation& operation, std::span<float> data);
  Status broadcast_small(const Operation& operation, std::span<std::byte> data, int root);
  Status broadcast_chain(const Operation& operation, std::span<std::byte> data, int root);
  Ways ways_for(std::size_t bytes, Type type) const;
  // Seconds that all ranks together took, the same number on each.
  Status measure(const std::function<Status()>& body, float& seconds);
  Status measure_size(std::size_t bytes, Ways& best, float& seconds);

  std::unique_ptr<Transport> owned_;
  Transport& transport_;
  std::uint32_t operations_ = 0;
  std::vector<std::uint32_t> sent_, received_;  // by rank of the view: messages outside collectives
  Whole whole_;
  Status broken_;  // once not Ok, the answer to everything
  WaysBySize ways_;
  std::deque<Flow> flows_;
  std::deque<std::vector<std::byte>> scratch_;  // one a flow; stays where it is
  std::vector<float> widened_;
  std::array<std::int32_t, 2> notice_{};  // one being received
  std::optional<Clock::time_point> idle_since_;
  std::atomic<bool> revoked_ = false;
};

}  // namespace stint::comm
