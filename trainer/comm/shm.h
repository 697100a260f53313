// SPDX-License-Identifier: Apache-2.0
// The collectives among the ranks of one node, through a ShmSegment. Three ways, chosen by what all ranks
// announce:
//   small     every rank copies its contribution into the segment and reads those of all others: one meeting;
//   in place  where every rank's buffer lies in its memory(), the others read and write it there;
//   staged    tile by tile through the segment, copying in, adding and copying out side by side.
// Each element is added by one rank from all terms, in the order of communicator.h.
//
// A waiting rank spins for a moment where every rank has a core of its own, else lets others run at once. It
// sees a peer's end by the process's own word (pidfd) or the segment's owner's, so all ranks must be in one
// PID namespace. Of a failure all hear in the segment.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "trainer/comm/communicator.h"
#include "trainer/comm/shm_control.h"
#include "trainer/comm/shm_segment.h"

namespace stint::comm {

class ShmCommunicator final : public Communicator {
 public:
  // `group` is the segment's ranks in their order; once for each of them. Waits for nobody. Throws Error
  // where they do not fit the segment, or the rank is taken.
  ShmCommunicator(ShmSegment segment, Group group, std::chrono::milliseconds timeout);
  ~ShmCommunicator() override;

  std::span<std::byte> memory() const override { return segment_.data(rank()); }

  Status reduce_scatter(Data data) override;
  Status all_gather(Data data) override;
  Status all_reduce(Data data) override;
  Status broadcast(std::span<std::byte> data, int root) override;
  Status barrier() override;
  Status send(std::span<const std::byte> data, int to) override;
  Status receive(std::span<std::byte> data, int from) override;
  void revoke() override;

  // For a whole that this is the part of within a node. Whether a failure has been told, and here as well
  // whether all ranks live:
  Status news() const;
  Status watch();
  // It failed elsewhere: tells all.
  void give_up(const Status& why);
  // Called now and then while an operation waits.
  void set_meanwhile(std::function<void()> meanwhile) { meanwhile_ = std::move(meanwhile); }

 private:
  using Clock = std::chrono::steady_clock;
  using Pointers = std::vector<std::byte*>;  // by rank

  // What a collective is called with.
  struct Call {
    shm::Kind kind;
    Type type = Type::kFloat;
    std::size_t count = 0;
    int root = 0;
    std::span<const std::byte> buffer{};
    // What the others need of it, copied to them if `small`, the longest of any rank's, is small.
    std::span<const std::byte> contribution{};
    std::size_t small = ~std::size_t{0};
  };

  struct Pieces;

  // Runs the body once all ranks have announced the same call; on failure tells all and remembers why.
  Status perform(const Call& call, const std::function<Status()>& body);
  Status attempt(const char* name, const std::function<Status()>& body);
  Status meet(const Call& call);
  Status check_sameness(const Call& call, int peer) const;
  // Waits until all ranks are done with the operation: nobody touches our buffer any more.
  Status finish();

  // Until the counter, which `peer` moves, has come to `value`.
  Status await(int peer, const shm::Counter& counter, std::uint64_t value) {
    for (int turn = 0; turn < spins_; ++turn) {
      if (counter.load(std::memory_order_acquire) >= value) return {};
      pause();
    }
    return await_long(peer, counter, value);
  }
  static void pause();
  Status await_long(int peer, const shm::Counter& counter, std::uint64_t value);
  Status interruption() const;
  bool is_dead(int peer);
  Status death_of(int peer) const;
  int named(int rank) const { return members()[static_cast<std::size_t>(rank)]; }  // in the view
  void nap(int peer, Clock::duration length);
  void tell(const Status& why);
  void count_cores();

  bool in_place() const;
  std::uint64_t place_of(std::span<const std::byte> buffer) const;
  std::byte* placed(int rank) const;                             // its buffer
  std::byte* contribution(int rank, std::size_t longest) const;  // what it gave
  shm::Announcement& announcement(int rank) const;
  template <typename Visit>
  Status for_peers(Visit&& visit) const {  // the next rank first, so that not all turn to one
    for (int distance = 1; distance < size(); ++distance)
      if (Status status = visit((rank() + distance) % size()); !status) return status;
    return {};
  }

  // Tiles of the lanes; `tile` counts from the beginning of the operation.
  std::byte* tile_of(int rank, int lane, std::size_t tile) const;
  Status open_tile(int lane, std::size_t tile);  // once nobody reads what lay there
  void publish(int lane, std::size_t tile);
  Status await_tile(int peer, int lane, std::size_t tile);
  void take(int lane, std::size_t tile);  // all others' have been read
  void pass_tiles(int lane, std::size_t tiles);

  Status all_reduce_in_place(Data data);
  Status all_reduce_by_tiles(Data data);
  Status all_reduce_by_pieces(Data data);
  Status reduce_scatter_staged(Data data);
  Status all_gather_staged(Data data);
  Status broadcast_staged(std::span<std::byte> data, int root);
  Status stage_contributions(const Pieces& pieces, std::size_t tile);
  Status sum_own(const Pieces& pieces, std::size_t tile, std::byte* copy);
  Status take_results(const Pieces& pieces, std::size_t tile);

  ShmSegment segment_;
  std::uint64_t operations_ = 0;
  std::array<std::uint64_t, 2> tiles_before_{};  // by lane: of earlier operations
  Pointers terms_, sums_;
  std::vector<int> pidfds_;  // by rank; -1: not opened yet
  int spins_ = 0;
  bool cores_counted_ = false;
  std::function<void()> meanwhile_;
  Clock::time_point next_watch_{};
  std::optional<Clock::time_point> deadline_;  // of the operation, once it had to wait for long
  Status broken_;                              // once not Ok, the answer to everything
  std::atomic<bool> revoked_ = false;
};

}  // namespace stint::comm
