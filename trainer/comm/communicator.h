// SPDX-License-Identifier: Apache-2.0
// Collectives among the workers of one view. Ranks here are logical ranks.
//
// The order of additions. Every sum over ranks is this binary tree, whatever the back end and algorithm:
//     sum(first, n) = sum(first, m) + sum(first + m, n - m),  m = the largest power of two below n,
// so that ranks r and r+1 (r even) are added first, then pairs of pairs, and so on. It follows from logical
// rank and world size alone: not from where a rank runs, nor from an element's place in its buffer, nor from
// how a buffer is cut. Hence
//   - the same gradients give the same bits in one buffer or many, sharded or not, over any back end;
//   - 2^k neighbouring ranks that begin at a multiple of 2^k (a node) are a subtree: they can be summed by
//     themselves first; for the same reason half the ranks with pairs of slots each can give the same bits;
//   - who has all terms adds in any arrangement of memory (shared memory; chunks sent to their owners), and
//     recursive halving and doubling add so by themselves. A ring that adds as it passes cannot.
// bf16 terms are summed in fp32 and the sum is rounded once. Only NCCL adds in an order of its own.
//
// Errors are values; after any but Ok the communicator is of no more use and its view must be replaced.
// One thread a communicator, except revoke(), which any thread may call.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "trainer/comm/data.h"

namespace stint::comm {

enum class Code { kOk, kPeerFailed, kTimeout, kRevoked };

struct [[nodiscard]] Status {
  Code code = Code::kOk;
  int peer = -1;       // the rank of the view that failed or was waited for; -1: not known
  std::string detail;  // for people
  explicit operator bool() const { return code == Code::kOk; }
};

// What the failure means to others whom rank `teller` tells of it.
Status told_by(int teller, Code code, int peer);

// The elements of `count` that rank `rank` of `size` owns after reduce_scatter. Chunks differ by at most one
// element, earlier ranks hold the longer ones.
Range chunk_of(std::size_t count, int size, int rank);

// Who takes part.
struct Group {
  std::uint32_t epoch = 0;   // the view's number; messages of another are dropped
  int rank = 0;              // ours, a place in `members`
  std::vector<int> members;  // which rank of the view each one is, ascending
};
// All ranks of a view.
Group whole_view(std::uint32_t epoch, int rank, int size);

class Communicator {
 public:
  // Each operation ends within the time-out, one way or another.
  Communicator(Group group, std::chrono::milliseconds timeout)
      : group_(std::move(group)), timeout_(timeout) {}
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  virtual ~Communicator() = default;

  int rank() const { return group_.rank; }
  int size() const { return static_cast<int>(group_.members.size()); }
  std::uint32_t epoch() const { return group_.epoch; }
  const std::vector<int>& members() const { return group_.members; }
  std::chrono::milliseconds timeout() const { return timeout_; }
  // For the operations that begin from now on.
  void set_timeout(std::chrono::milliseconds timeout) { timeout_ = timeout; }
  // Where buffers are worked on in place, if every rank's lies in its own; zero at first. May be empty.
  virtual std::span<std::byte> memory() const { return {}; }
  // The communicator among these of our ranks, ascending, ours among them, where it has one that does better
  // than messages from rank to rank; null: it has none. It is ours, and used by the same thread.
  virtual Communicator* among(const std::vector<int>& ranks) {
    return ranks.size() == members().size() ? this : nullptr;
  }

  // Collectives: every rank calls the same ones, with equal type and count, in the same order.
  //
  // In place: afterwards chunk_of(data.count(), size(), rank()) holds the sum over all ranks, the rest is
  // undefined.
  virtual Status reduce_scatter(Data data) = 0;
  // In place: each rank's own chunk is copied to all others.
  virtual Status all_gather(Data data) = 0;
  // Sum over all ranks, in place; equal bits on every rank.
  virtual Status all_reduce(Data data) = 0;
  virtual Status broadcast(std::span<std::byte> data, int root) = 0;
  virtual Status barrier() = 0;

  // From one rank to another, which receives as many bytes; in the order of sending. A send may wait for its
  // receive, so of two ranks that send to each other one must receive first.
  virtual Status send(std::span<const std::byte> data, int to) = 0;
  virtual Status receive(std::span<std::byte> data, int from) = 0;

  // Every operation under way or later, here, returns kRevoked. Idempotent.
  virtual void revoke() = 0;

 private:
  Group group_;
  std::chrono::milliseconds timeout_;
};

}  // namespace stint::comm
