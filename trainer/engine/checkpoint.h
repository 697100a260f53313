// SPDX-License-Identifier: Apache-2.0
// Durable checkpoints of one run: checkpoints/step-00000100/{model.safetensors, optimizer.safetensors,
// config.json, manifest.json}. Weights and config.json are what Hugging Face reads. Each is written under a
// name that starts with a dot, synced and renamed, so a folder called step-* was complete once. Used by one
// process at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "trainer/engine/buffer.h"
#include "trainer/model/config.h"

namespace stint::engine {

// Everything that an update changes. Flat, in Layout's order.
struct State {
  std::int64_t step = 0;  // updates done
  Buffer parameters, exp_avg, exp_avg_sq;
};

class CheckpointStore {
 public:
  CheckpointStore(std::filesystem::path folder, model::Config config, const model::Layout& layout,
                  std::int64_t sequence_length);

  // Creates the folder, removes what an interrupted save left. Throws Error when the folder is not writable.
  void prepare() const;

  struct Saved {
    std::filesystem::path folder;
    std::uint64_t bytes = 0;
    double seconds = 0;
  };
  // Writes the checkpoint of state.step and keeps the `keep` newest up to it. `facts` go into the manifest.
  // Throws Error; then the older checkpoints are untouched and nothing half written stays.
  Saved save(const State& state, const nlohmann::json& facts, std::int64_t keep) const;

  struct Loaded {
    std::optional<nlohmann::json> manifest;  // of the checkpoint that was loaded
    std::vector<std::string> skipped;        // newer ones that cannot be used, each with its cause
  };
  // The newest usable checkpoint into `state`; the others' reasons in `skipped`. Without a manifest `state`
  // holds nothing of use.
  Loaded load_newest(State& state) const;

 private:
  void write(const std::filesystem::path& folder, const State& state, nlohmann::json manifest) const;
  nlohmann::json load(const std::filesystem::path& folder, std::int64_t step, State& state) const;
  void prune(std::int64_t newest, std::int64_t keep) const;
  nlohmann::json model_identity() const;

  std::filesystem::path folder_;
  model::Config config_;
  const model::Layout& layout_;
  std::int64_t sequence_length_;
};

}  // namespace stint::engine
