// SPDX-License-Identifier: Apache-2.0
// The collectives, over any Transport, on the ring of logical ranks 0, 1, …, size-1, 0. Large buffers travel
// in segments, so that transfer and addition overlap. Each collective stands in a file of its own. Every
// operation ends within the time-out. After any but Ok the transport has been aborted.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "trainer/comm/communicator.h"
#include "trainer/comm/transport.h"

namespace stint::comm {

class RingCommunicator final : public Communicator {
 public:
  // The transport must outlive the communicator.
  RingCommunicator(Transport& transport, std::uint32_t epoch, std::chrono::milliseconds timeout);
  RingCommunicator(std::unique_ptr<Transport> transport, std::uint32_t epoch,
                   std::chrono::milliseconds timeout);

  int rank() const override { return transport_.rank(); }
  int size() const override { return transport_.size(); }
  std::uint32_t epoch() const override { return epoch_; }

  Status reduce_scatter(std::span<float> data) override;
  Status all_gather(std::span<float> data) override;
  Status all_reduce(std::span<float> data) override;
  Status broadcast(std::span<std::byte> data, int root) override;
  Status barrier() override;
  void revoke() override { revoked_.store(true, std::memory_order_release); }

 private:
  using Clock = std::chrono::steady_clock;

  struct Operation {
    const char* name;
    std::uint32_t number;
    Clock::time_point deadline;
  };

  // A stream of segments from one neighbour and one to the other. Send q leaves once receive q - lag has been
  // taken in; the first `lag` sends wait for nothing. Empty segments are not sent.
  struct Flow {
    int from = -1, to = -1;
    std::size_t receives = 0, sends = 0, lag = 0;
    std::function<std::span<std::byte>(std::size_t)> target;  // where receive q goes
    std::function<void(std::size_t)> take_in;  // called in order, after receive q; may be empty
    std::function<std::span<const std::byte>(std::size_t)> source;  // what send q takes
  };

  int left() const { return (rank() + size() - 1) % size(); }
  int right() const { return (rank() + 1) % size(); }
  Tag tag(const Operation& operation, std::size_t slot) const;

  // Runs the body as the next operation; on failure aborts the transport and remembers why.
  Status perform(const char* name, const std::function<Status(const Operation&)>& body);
  // One turn of waiting for `peer`: progress, else let others run. Not Ok: time is up, or revoked.
  Status turn(const Operation& operation, int peer);
  Status wait(const Operation& operation, Transport::Request request, int peer);
  Status run(const Operation& operation, const Flow& flow);
  // Failure notices to and from the neighbours: whoever gives up says why, so that all end soon.
  void tell_neighbours(const Status& why);
  Status hear_neighbours();
  Status why_failed();
  // Steps of the ring over chunks: step s sends chunk first - s and receives chunk first - s - 1; those of
  // the first `additions` steps are added, later ones are copied.
  Status ring_steps(const Operation& operation, std::span<float> data, int first, int steps, int additions);

  std::unique_ptr<Transport> owned_;
  Transport& transport_;
  const std::uint32_t epoch_;
  const std::chrono::milliseconds timeout_;
  std::uint32_t operations_ = 0;
  Status broken_;  // once not Ok, the answer to everything
  std::vector<float> scratch_;
  std::array<std::int32_t, 2> notice_{};  // one being received
  std::atomic<bool> revoked_ = false;
};

}  // namespace stint::comm
