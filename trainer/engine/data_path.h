// SPDX-License-Identifier: Apache-2.0
// The way of parameters and gradients between ranks, beside the computation: through the host's memory by a
// thread of its own, or from GPU to GPU. What a rank posts, all post in the same order. Used by one thread.
#pragma once

#include <functional>

#include "trainer/comm/communicator.h"
#include "trainer/comm/subgroup.h"
#include "trainer/engine/comm_queue.h"
#include "trainer/engine/partition.h"

namespace stint::engine {

class DataPath {
 public:
  using Ticket = CommQueue::Ticket;  // 0: nothing to wait for
  using Operation = CommQueue::Operation;

  virtual ~DataPath() = default;
  // Who hold one copy of the state between them, and who hold the same shard. Their collectives are called
  // within operations alone, one after the other, and may be under way when they return.
  virtual comm::Communicator& shard() = 0;
  virtual comm::Communicator& replica() = 0;

  // Begins when the device has done what it was asked for until now. Then, if the operation went well, the
  // device does what `after` asks of it.
  virtual Ticket post(Operation operation, std::function<void()> after = {}) = 0;
  // What the device is asked for from now on finds the results of that operation and those before it. The
  // first failure of any that is known.
  virtual comm::Status wait(Ticket ticket) = 0;
  // Waits until all are done; the first failure of any. Results count only then.
  virtual comm::Status finish() = 0;
  // In finish(), so far.
  virtual double seconds_waited() const = 0;
  // Before the memory goes that it was given: nothing of it is under way from now on. Then only destruction
  // is left.
  virtual void close() {}
};

// Over a communicator among hosts, whose queue also takes what has no part in this; both outlive it.
class HostPath final : public DataPath {
 public:
  HostPath(comm::Communicator& communicator, const Partition& partition, CommQueue& queue)
      : shard_(communicator, partition.shard_group()),
        replica_(communicator, partition.replica_group()),
        queue_(queue) {}

  comm::Communicator& shard() override { return shard_; }
  comm::Communicator& replica() override { return replica_; }
  Ticket post(Operation operation, std::function<void()> after) override;
  comm::Status wait(Ticket ticket) override { return queue_.wait(ticket); }
  comm::Status finish() override { return queue_.wait_all(); }
  double seconds_waited() const override { return 0; }  // the queue counts them

 private:
  comm::Subgroup shard_, replica_;
  CommQueue& queue_;
};

}  // namespace stint::engine
