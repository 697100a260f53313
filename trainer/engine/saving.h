// SPDX-License-Identifier: Apache-2.0
// One rank's part in one checkpoint, written by a thread of its own while training goes on. Used by one
// thread, beside which any may call keep().
#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <vector>

#include "trainer/engine/checkpoint.h"
#include "trainer/engine/exchange.h"
#include "trainer/engine/optimizer.h"

namespace stint::engine {

class Saving {
 public:
  // Of `state` as it is now; both outlive this. A rank that does not write only takes part. `facts` and
  // `keep` are those of CheckpointStore::finish(). What is under way at the end of its life is waited for.
  Saving(const CheckpointStore& store, const State& state, bool writes, nlohmann::json facts,
         std::int64_t keep);

  std::int64_t step() const { return step_; }
  // Before these are changed.
  void before_update(const Slice& slice);

  // This rank's part is on the disk, or failed.
  bool written() const;
  // Waits for that. Its text is for finish().
  const Outcome& shard();
  // By one of the ranks, with what shard() gave to all of them, once none writes any more.
  void finish(std::vector<Outcome> shards);

  // After finish(): saved() would not wait.
  bool finished() const;
  // After finish(). Throws Error; then nothing of it stays.
  CheckpointStore::Saved saved();

 private:
  using Clock = std::chrono::steady_clock;

  const CheckpointStore& store_;
  std::int64_t step_;
  nlohmann::json facts_;
  std::int64_t keep_;
  Clock::time_point began_ = Clock::now();
  std::unique_ptr<FrozenShard> frozen_;  // where it writes
  Clock::duration blocked_{};
  std::shared_future<Outcome> shard_;
  std::future<CheckpointStore::Saved> saved_;  // last: what it runs uses the others
};

}  // namespace stint::engine
