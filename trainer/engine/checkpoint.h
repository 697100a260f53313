// SPDX-License-Identifier: Apache-2.0
// Durable checkpoints of one run: checkpoints/step-00000100/{*.safetensors, config.json, manifest.json}. Of a
// state that every rank has whole, weights and config.json are what Hugging Face reads; of a sharded one each
// rank writes its part. Whatever wrote one, any number of ranks with any sharding reads it. Each is written
// under a name that starts with a dot, synced and renamed, so a folder called step-* was complete once. Used
// by the ranks of one run at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "trainer/engine/buffer.h"
#include "trainer/engine/partition.h"
#include "trainer/engine/safetensors.h"
#include "trainer/engine/snapshot.h"
#include "trainer/model/config.h"

namespace stint::engine {

// Everything that an update changes, in Layout's order: all of it, or a shard's pieces alone; memory of one
// device.
struct State {
  std::int64_t step = 0;  // updates done
  Buffer parameters, exp_avg, exp_avg_sq;
};

// What one process writes of a state, as it was when this was made.
struct FrozenShard {
  std::int64_t step;
  std::map<std::string, std::vector<TensorView>> files;  // by name
  Snapshot snapshot;
};

class CheckpointStore {
 public:
  // The layout outlives the store.
  CheckpointStore(std::filesystem::path folder, model::Config config, const model::Layout& layout,
                  std::int64_t sequence_length);
  CheckpointStore(std::filesystem::path folder, model::Config config, const model::Layout& layout,
                  std::int64_t sequence_length, Partition partition);

  // Creates the folder, removes what an interrupted save left. Throws Error when the folder is not writable.
  void prepare() const;

  struct Saved {
    std::filesystem::path folder;
    std::uint64_t bytes = 0;
    double seconds = 0;  // from its beginning until it is safe
    double blocked = 0;  // of these, training stood still
  };
  // Writes the checkpoint of state.step and keeps the `keep` newest up to it. `facts` go into the manifest.
  // Throws Error; then the older checkpoints are untouched and nothing half written stays.
  Saved save(const State& state, const nlohmann::json& facts, std::int64_t keep) const;
  // The same by several processes: each freezes and writes its shard, then one finishes with what all
  // write_shard() returned, or abandons when none writes any more. Each throws Error. Between freeze() and
  // the end of write_shard(), which another thread may run, whoever changes the state lets the snapshot keep
  // what was there.
  std::unique_ptr<FrozenShard> freeze(const State& state) const;
  nlohmann::json write_shard(FrozenShard& shard) const;
  Saved finish(std::int64_t step, const nlohmann::json& files, const nlohmann::json& facts,
               std::int64_t keep) const;
  void abandon(std::int64_t step) const;

  std::filesystem::path path_of(std::int64_t step) const;
  // Those that are there, newest first.
  std::vector<std::int64_t> steps() const;
  // One into `state`, the partition's shard of it, and its manifest. Of its files every rank of the shard
  // group checks some. Throws Error that says why it cannot be used; then `state` holds nothing of use.
  nlohmann::json load(std::int64_t step, State& state) const;

  struct Loaded {
    std::optional<nlohmann::json> manifest;  // of the checkpoint that was loaded
    std::vector<std::string> skipped;        // newer ones that cannot be used, each with its cause
  };
  // The newest usable checkpoint, by one process; the others' reasons in `skipped`. Without a manifest
  // `state` holds nothing of use.
  Loaded load_newest(State& state) const;

 private:
  std::filesystem::path hidden_path_of(std::int64_t step) const;
  template <typename Body>
  auto explained(std::int64_t step, Body&& body) const;
  nlohmann::json read(const std::filesystem::path& folder, std::int64_t step, State& state) const;
  void prune(std::int64_t newest, std::int64_t keep) const;
  nlohmann::json model_identity() const;

  std::filesystem::path folder_;
  model::Config config_;
  const model::Layout& layout_;
  std::int64_t sequence_length_;
  Partition partition_;
};

}  // namespace stint::engine
