// SPDX-License-Identifier: Apache-2.0
// Training of one recipe on one rank: the state, the step, checkpoints. Every rank works on slots of its own;
// the state is replicated, sharded, or sharded within groups of ranks and replicated among them. Knows
// nothing of Slurm, the agent or where its peers run. One thread; every rank calls start(), step(),
// begin_save(), finish_save() and barrier() alike. From start() on the communicator is the engine's.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/final_error.h"
#include "base/run_directory.h"
#include "recipes/recipe.h"
#include "trainer/comm/communicator.h"
#include "trainer/engine/buffer.h"
#include "trainer/engine/checkpoint.h"
#include "trainer/engine/comm_queue.h"
#include "trainer/engine/data.h"
#include "trainer/engine/data_path.h"
#include "trainer/engine/loss_scale.h"
#include "trainer/engine/optimizer.h"
#include "trainer/engine/partition.h"
#include "trainer/engine/saving.h"
#include "trainer/engine/tracer.h"
#include "trainer/engine/unit_storage.h"
#include "trainer/model/llama.h"

namespace stint::engine {

struct StepReport {
  std::int64_t step = 0;  // updates done, this one included
  double loss = 0;        // mean over the tokens of the global batch, in nats, before the update
  double grad_norm = 0;   // before clipping
  double learning_rate = 0;
  double seconds = 0;
  double communicating = 0;      // of these, waited for communication that nothing was computed beside
  double reading = 0;            // of these, waited for data; by the rank that waited longest
  std::int64_t peak_memory = 0;  // bytes so far, of the rank that took most
  // With a loss scale: the one that this step was done with; whether it overflowed, so that nothing changed
  // but the scale and `step` is to be done again. 0: without.
  double loss_scale = 0;
  bool overflow = false;
  bool stop = false;  // some rank wants to stop; every rank sees it at the same step
};

class Engine {
 public:
  // `facts` go into each manifest (BLAS kernel, threads). The communicator is among hosts. The state lies on
  // the device. `path`: the way of parameters and gradients, where there is another than the communicator.
  // Throws Error on a recipe or data file that cannot be trained on with this many ranks. Communicator and
  // device must outlive the engine.
  Engine(const recipes::Recipe& recipe, const RunDirectory& run, comm::Communicator& communicator,
         nlohmann::json facts, model::Device& device = model::cpu(),
         std::unique_ptr<DataPath> path = nullptr);
  ~Engine() { path_->close(); }
  // What its buffers take of Communicator::memory(), in bytes, where it computes on the host.
  static std::size_t shared_bytes(const recipes::Recipe& recipe);

  // Every rank of the first copy of the state loads its part of the newest checkpoint that all of them can
  // use, or initialises it from the seed where the run has none, and gives it to the other copies. Throws
  // Error on every rank when there are checkpoints and none can be used.
  comm::Status start();
  // One update, or none where the gradient overflowed the loss scale. Throws FinalError when loss or gradient
  // is not finite or the memory does not suffice, Error when the data cannot be read.
  comm::Status step(bool want_stop, StepReport& report);
  // Begins a checkpoint of the state as it now is, which is written beside the steps that follow. Waits for
  // the one before it.
  comm::Status begin_save();
  // Waits for the one that is under way.
  comm::Status finish_save();
  // What has come of those begun, once that is known: on rank 0; what failed, where the state is sharded, on
  // every rank.
  struct Save {
    std::int64_t step = 0;
    CheckpointStore::Saved saved;
    std::exception_ptr error;  // a FinalError where there is no room; else null
  };
  std::vector<Save> take_saves();

  // All ranks are here, and nothing of the engine's is under way.
  comm::Status barrier();

  // Rank 0's wish: every rank records so many steps, from the next but one on. `id` is below 2^53. Not while
  // a trace is wanted or under way.
  void ask_for_trace(std::int64_t id, std::int64_t steps);
  bool has_trace() const { return trace_.steps > 0 || wanted_trace_.steps > 0; }
  struct Trace {
    std::int64_t id = 0;
    nlohmann::json part;  // base/run_profile.h
  };
  // Before a step: the trace whose last step is done, once; after the last step (`over`) what there is of
  // one.
  std::optional<Trace> take_trace(bool over = false);

  // Of a finished run: its weights as a folder for Hugging Face, unless it is there. `problem`: why it could
  // not be written, on rank 0; the checkpoint has them all the same.
  comm::Status write_weights(const std::filesystem::path& folder, std::string& problem);

  std::int64_t current_step() const { return state_.step; }
  bool finished() const { return state_.step >= recipe_.run.steps; }
  std::int64_t parameter_count() const { return layout_.parameter_count(); }
  double last_loss() const { return last_loss_; }  // also after a resume; 0 before the first step
  const State& state() const { return state_; }    // after finish_save() or barrier()
  const model::Layout& layout() const { return layout_; }
  // For people, from start(), on rank 0: checkpoints passed over with their causes, data of another size.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  // What each rank says before anyone changes the state.
  struct Vote {
    double squares = 0;  // of the gradient, its own share of them
    double loss = 0;     // its own slots' part of the mean
    double stop = 0;
    double reading = 0, peak_memory = 0;   // as in StepReport
    double written = 0;                    // its shard of the checkpoint that is under way
    double trace_id = 0, trace_steps = 0;  // that makes a line of 64 bytes
  };
  struct Sums {
    double loss = 0, norm = 0, reading = 0, peak_memory = 0;
    bool stop = false;
    bool written = true;  // by all
  };

  comm::Status begin();
  comm::Status train_step(bool want_stop, StepReport& report);
  comm::Status go_on_saving(bool all_written);
  comm::Status gather_shards();
  void note_saved();
  comm::Status load(bool& loaded);
  comm::Status try_checkpoint(std::int64_t step, bool& loaded);
  void take_facts(const nlohmann::json& manifest);
  std::vector<Slice> make_slices();
  std::vector<std::span<const float>> own_gradients();
  double accumulate_gradients();
  double train_slots(std::size_t first, std::size_t count);
  comm::Status agree(double loss, bool want_stop, Sums& sums);
  void require_finite(const Sums& sums) const;
  comm::Status begin_trace();
  void initialize();
  void round_parameters();
  nlohmann::json manifest_facts() const;

  recipes::Recipe recipe_;
  comm::Communicator& communicator_;
  nlohmann::json facts_;
  model::Config config_;
  model::Layout layout_;
  Partition partition_;
  model::Device& device_;
  model::Operand operand_;
  std::unique_ptr<DataPath> path_;
  ByteText data_;
  CheckpointStore checkpoints_;
  std::span<std::byte> room_;  // of the communicator's memory, what no buffer has taken
  State state_;
  Tracer tracer_;
  UnitStorage storage_;
  model::Llama model_;
  std::vector<Slice> slices_;
  SquareSum squares_;  // of this rank's own share of the gradient
  struct {
    std::int64_t id = 0, steps = 0;  // steps: 0 where none is wanted
    TraceFacts facts;
  } trace_, wanted_trace_;  // what all know of; what this rank is to tell them
  comm::Range slots_;
  LossScale scale_;
  std::vector<std::int64_t> tokens_;  // of one micro batch
  double reading_ = 0;                // seconds, of this step
  double last_loss_ = 0;
  std::vector<std::string> warnings_;
  std::vector<Save> saves_;
  bool shards_wanted_ = false;  // no rank has been told that all are written
  CommQueue queue_;             // late: what is under way uses all before it
  std::unique_ptr<Saving> saving_;
};

}  // namespace stint::engine
