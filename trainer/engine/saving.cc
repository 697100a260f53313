// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/saving.h"

namespace stint::engine {
namespace {

template <typename Future>
bool is_ready(const Future& future) {
  return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

}  // namespace

Saving::Saving(const CheckpointStore& store, const State& state, bool writes, nlohmann::json facts,
               std::int64_t keep)
    : store_(store), step_(state.step), facts_(std::move(facts)), keep_(keep) {
  if (writes) frozen_ = store_.freeze(state);
  shard_ = std::async(std::launch::async, [this] {
             return attempt([this] { return frozen_ ? store_.write_shard(*frozen_).dump() : "{}"; });
           }).share();
  blocked_ = Clock::now() - began_;
}

void Saving::before_update(const Slice& slice) {
  if (!frozen_) return;
  for (const float* values : {slice.parameters, slice.exp_avg, slice.exp_avg_sq})
    frozen_->snapshot.keep({values, slice.count});
}

bool Saving::written() const {
  return is_ready(shard_);
}

const Outcome& Saving::shard() {
  return shard_.get();
}

void Saving::finish(std::vector<Outcome> shards) {
  saved_ = std::async(std::launch::async, [this, shards = std::move(shards)] {
    try {
      throw_first_error(shards);
      auto files = nlohmann::json::object();
      for (const auto& shard : shards) files.update(nlohmann::json::parse(shard.text));
      return store_.finish(step_, files, facts_, keep_);
    } catch (const std::exception&) {
      store_.abandon(step_);
      throw;
    }
  });
}

bool Saving::finished() const {
  return saved_.valid() && is_ready(saved_);
}

CheckpointStore::Saved Saving::saved() {
  auto saved = saved_.get();
  saved.seconds = std::chrono::duration<double>(Clock::now() - began_).count();
  const auto kept_for = frozen_ ? frozen_->snapshot.kept_for() : std::chrono::nanoseconds(0);
  saved.blocked = std::chrono::duration<double>(blocked_ + kept_for).count();
  return saved;
}

}  // namespace stint::engine
