// SPDX-License-Identifier: Apache-2.0
// Data-parallel training of one recipe on one rank: the state, the step, checkpoints. Knows nothing of Slurm,
// the agent or where its peers run. One thread; every rank calls start() and step() alike.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/final_error.h"
#include "base/run_directory.h"
#include "recipes/recipe.h"
#include "trainer/comm/communicator.h"
#include "trainer/engine/buffer.h"
#include "trainer/engine/checkpoint.h"
#include "trainer/engine/data.h"
#include "trainer/model/llama.h"

namespace stint::engine {

struct StepReport {
  std::int64_t step = 0;  // updates done, this one included
  double loss = 0;        // mean over the tokens of the global batch, in nats, before the update
  double grad_norm = 0;   // before clipping
  double learning_rate = 0;
  double seconds = 0;
  bool stop = false;  // some rank wants to stop; every rank sees it at the same step
};

class Engine {
 public:
  // `facts` go into each manifest (BLAS kernel, threads). Throws Error on a recipe or data file that cannot
  // be trained on with this many ranks. The communicator must outlive the engine.
  Engine(const recipes::Recipe& recipe, const RunDirectory& run, comm::Communicator& communicator,
         nlohmann::json facts);
  // What its buffers take of Communicator::memory(), in bytes.
  static std::size_t shared_bytes(const recipes::Recipe& recipe);

  // Rank 0 loads the newest usable checkpoint, or initialises from the seed where the run has none, and gives
  // the state to all. Throws Error on every rank when there are checkpoints and none can be used.
  comm::Status start();
  // One update. Throws FinalError when loss or gradient is not finite or the memory does not suffice, Error
  // when the data cannot be read.
  comm::Status step(bool want_stop, StepReport& report);
  // Rank 0 only. Throws Error; a FinalError where there is no room.
  CheckpointStore::Saved save();

  std::int64_t current_step() const { return state_.step; }
  bool finished() const { return state_.step >= recipe_.run.steps; }
  std::int64_t parameter_count() const { return layout_.parameter_count(); }
  double last_loss() const { return last_loss_; }  // also after a resume; 0 before the first step
  const State& state() const { return state_; }
  const model::Layout& layout() const { return layout_; }
  // For people, from start() on rank 0: checkpoints passed over with their causes, data of another size.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  // What follows the gradients in their buffer, so that one collective does for all.
  enum Tail : std::size_t { kLoss, kStop, kTailFloats = 16 };

  std::string load_or_initialize();  // the reason why not, or empty
  double accumulate_gradients();
  nlohmann::json manifest_facts() const;

  recipes::Recipe recipe_;
  comm::Communicator& communicator_;
  nlohmann::json facts_;
  model::Config config_;
  model::Layout layout_;
  ByteText data_;
  CheckpointStore checkpoints_;
  std::span<std::byte> room_;  // of the communicator's memory, what no buffer has taken
  State state_;
  Buffer gradients_;  // layout_.floats() + kTailFloats
  model::Llama model_;
  comm::Range slots_;
  std::vector<std::int64_t> tokens_;  // of one micro batch
  double last_loss_ = 0;
  std::vector<std::string> warnings_;
};

}  // namespace stint::engine
