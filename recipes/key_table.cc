// SPDX-License-Identifier: Apache-2.0
// The table of keys itself: what a recipe can say, in the order of the frozen text.
#include <limits>

#include "base/one_line.h"
#include "recipes/key_kinds.h"

namespace stint::recipes {
namespace {

using std::chrono::minutes;

void set_betas(Recipe& recipe, std::string_view value) {
  std::vector<double> betas;
  for (const std::string& part : split(value, ',')) betas.push_back(parse_real(part, 0, 1) + 0.0);
  if (betas.size() != 2) fail("'{}' is not two numbers, such as 0.9,0.95", value.substr(0, 60));
  for (const double beta : betas) {
    if (beta >= 1) fail("{} is not below 1", beta);
  }
  recipe.optim.betas = betas;
}

void set_time_limit(Recipe& recipe, std::string_view value) {
  if (trim(value) == "0") {
    recipe.resources.time_limit = minutes(0);
    return;
  }
  recipe.resources.time_limit = std::chrono::ceil<minutes>(parse_duration(value));
}

std::string get_time_limit(const Recipe& recipe) {
  const auto count = recipe.resources.time_limit.count();
  return count == 0 ? "0" : fmt::format("{}m", count);
}

void check_anything(std::string_view) {}

void check_path(std::string_view value) {
  if (value.empty()) fail("the path is empty");
}

void check_run_directory(std::string_view value) {
  check_path(value);
  if (!fits_one_line(value)) fail("a control character or line break in the path");
  for (std::size_t at = value.find('%'); at != std::string_view::npos; at = value.find('%', at + 2)) {
    if (at + 1 == value.size() || std::string_view("jnu%").find(value[at + 1]) == std::string_view::npos) {
      fail("'{}' in the path; %j is the job id, %n the recipe's name, %u the user, %% a percent sign",
           value.substr(at, 2));
    }
  }
}

void check_gres(std::string_view value) {
  const bool plain = std::all_of(value.begin(), value.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-.:,").find(c) != std::string_view::npos;
  });
  if (!plain || value.starts_with(",") || value.ends_with(","))
    fail("'{}' is no GRES such as gpu:8", value.substr(0, 60));
}

void check_recipe_name(std::string_view value) {
  if (!valid_recipe_name(value))
    fail("'{}' is no recipe name: letters, digits and . _ -, at most 63", value.substr(0, 80));
}

#define FIELD(member)         \
  [](auto& recipe) -> auto& { \
    return recipe.member;     \
  }

void add_run_keys(std::vector<Key>& all) {
  all.push_back(text("recipe", "name", "", "", "name of the recipe; default: its file's name without .ini",
                     check_recipe_name, FIELD(name)));
  all.push_back(text("recipe", "description", "", "", "one line for `stint recipe list`", check_anything,
                     FIELD(description)));
  all.push_back(text("run", "directory", "path", "stint-runs/%n-%j",
                     "where the run keeps its log and checkpoints, on a file system that all nodes share; "
                     "%j job id, %n recipe name, %u user; relative to the folder of submission",
                     check_run_directory, FIELD(run.directory)));
  all.push_back(
      integer("run", "steps", 1, kBillion, kRequired, "optimiser steps of the whole run", FIELD(run.steps)));
  all.push_back(integer("run", "seed", 0, std::numeric_limits<std::int64_t>::max(), "1234",
                        "of the weights' initial values and the order of the data", FIELD(run.seed)));
  all.push_back(integer("run", "log_interval", 1, 1'000'000, "1", "steps between two lines of the log",
                        FIELD(run.log_interval)));
  all.push_back(
      boolean("run", "tensorboard", "yes", "write a TensorBoard event file", FIELD(run.tensorboard)));
}

void add_model_keys(std::vector<Key>& all) {
  constexpr std::int64_t kWidth = 1 << 20;
  all.push_back(choice("model", "architecture", {"llama"}, "llama",
                       "RMSNorm, RoPE, grouped-query attention, SwiGLU", FIELD(model.architecture)));
  all.push_back(integer("model", "vocab_size", 2, 1 << 24, kRequired, "tokens in the vocabulary",
                        FIELD(model.vocab_size)));
  all.push_back(integer("model", "hidden_size", 2, kWidth, kRequired, "width of the residual stream",
                        FIELD(model.hidden_size)));
  all.push_back(integer("model", "intermediate_size", 1, kWidth, kRequired,
                        "width within the feed-forward block", FIELD(model.intermediate_size)));
  all.push_back(integer("model", "num_hidden_layers", 1, 4096, kRequired, "decoder layers",
                        FIELD(model.num_hidden_layers)));
  all.push_back(integer("model", "num_attention_heads", 1, 65536, kRequired, "query heads",
                        FIELD(model.num_attention_heads)));
  all.push_back(integer("model", "num_key_value_heads", 1, 65536, kRequired,
                        "key and value heads; divides the number of query heads",
                        FIELD(model.num_key_value_heads)));
  all.push_back(
      real("model", "rope_theta", 1, 1e9, "10000", "base of the rotary embedding", FIELD(model.rope_theta)));
  all.push_back(real("model", "rms_norm_eps", 1e-12, 0.1, "1e-05", "added to the mean square in RMSNorm",
                     FIELD(model.rms_norm_eps)));
  all.push_back(real("model", "initializer_range", 1e-6, 1, "0.02",
                     "standard deviation of the initial weights", FIELD(model.initializer_range)));
  all.push_back(boolean("model", "tie_word_embeddings", "no",
                        "use the input embedding as the output projection",
                        FIELD(model.tie_word_embeddings)));
  all.push_back(choice("model", "precision", {"fp32", "bf16", "fp16"}, "fp32",
                       "of the matrix products; parameters and optimiser stay fp32", FIELD(model.precision)));
}

void add_data_keys(std::vector<Key>& all) {
  all.push_back(text("data", "path", "path", kAtSubmit,
                     "text file to train on; relative to the folder of submission", check_path,
                     FIELD(data.path)));
  all.push_back(
      choice("data", "tokenizer", {"bytes"}, "bytes", "bytes: each byte is a token", FIELD(data.tokenizer)));
  all.push_back(integer("data", "sequence_length", 1, 1 << 22, "1024", "tokens in a sequence",
                        FIELD(data.sequence_length)));
  all.push_back(integer("data", "global_batch_size", 1, 1 << 24, "32",
                        "sequences a step, over all workers; stays the same when nodes are lost",
                        FIELD(data.global_batch_size)));
  all.push_back(integer("data", "micro_batch_size", 1, 1 << 20, "1",
                        "sequences in one forward pass of one worker", FIELD(data.micro_batch_size)));
}

void add_optim_keys(std::vector<Key>& all) {
  all.push_back(real("optim", "learning_rate", 1e-12, 100, kRequired, "peak, reached after the warm-up",
                     FIELD(optim.learning_rate)));
  all.push_back(
      real("optim", "min_learning_rate", 0, 100, "0", "at the last step", FIELD(optim.min_learning_rate)));
  all.push_back(
      {info("optim", "betas", "two numbers", "0 .. 1, below 1", "0.9,0.95", "decay of AdamW's two averages"),
       set_betas,
       [](const Recipe& recipe) { return fmt::format("{}", fmt::join(recipe.optim.betas, ",")); }});
  all.push_back(real("optim", "eps", 1e-20, 1, "1e-08", "added to AdamW's denominator", FIELD(optim.eps)));
  all.push_back(
      real("optim", "weight_decay", 0, 10, "0.1", "decoupled from the gradient", FIELD(optim.weight_decay)));
  all.push_back(real("optim", "grad_clip", 0, 1e9, "1", "largest norm of the whole gradient; 0: no limit",
                     FIELD(optim.grad_clip)));
  all.push_back(choice("optim", "schedule", {"constant", "linear", "cosine", "warmup_stable_decay"}, "cosine",
                       "of the learning rate, after a linear warm-up", FIELD(optim.schedule)));
  all.push_back(integer("optim", "warmup_steps", 0, kBillion, "0", "steps of the linear warm-up",
                        FIELD(optim.warmup_steps)));
  all.push_back(integer("optim", "decay_steps", 0, kBillion, "0",
                        "steps of the linear fall at the end; with schedule = warmup_stable_decay",
                        FIELD(optim.decay_steps)));
  all.push_back(real("optim", "loss_scale", 1, 1 << 24, "65536",
                     "what the loss is multiplied by at first; with model.precision = fp16",
                     FIELD(optim.loss_scale)));
  all.push_back(real("optim", "loss_scale_growth", 1, 1024, "2",
                     "times so much after loss_scale_interval steps without an overflow",
                     FIELD(optim.loss_scale_growth)));
  all.push_back(real("optim", "loss_scale_backoff", 1e-3, 0.999, "0.5",
                     "times so much after an overflow, whose step is done again",
                     FIELD(optim.loss_scale_backoff)));
  all.push_back(integer("optim", "loss_scale_interval", 1, kBillion, "2000",
                        "steps without an overflow before the scale grows",
                        FIELD(optim.loss_scale_interval)));
}

void add_parallel_keys(std::vector<Key>& all) {
  all.push_back(
      choice("parallel", "sharding", {"none", "zero1", "zero2", "zero3", "hybrid"}, "none",
             "what the workers hold one part each of: nothing; the optimiser's state; also gradients; also "
             "parameters; hybrid: as zero3 among some, with copies among the others",
             FIELD(parallel.sharding)));
  all.push_back(integer("parallel", "shard_degree", 0, 65536, "0",
                        "workers that hold one copy between them; with sharding = hybrid; 0: those of a node",
                        FIELD(parallel.shard_degree)));
  all.push_back(boolean("parallel", "overlap", "yes", "communicate in a thread of its own while computing",
                        FIELD(parallel.overlap)));
  all.push_back(boolean("parallel", "activation_checkpointing", "no",
                        "keep only the input of each layer and compute the rest again for the derivatives",
                        FIELD(parallel.activation_checkpointing)));
}

void add_topology_keys(std::vector<Key>& all) {
  all.push_back(choice("topology", "measure", {"auto", "yes", "no"}, "auto",
                       "time small messages between all nodes at the start and order the ring by them; auto: "
                       "when Slurm names no switches and there are four nodes or more",
                       FIELD(topology.measure)));
}

void add_survival_keys(std::vector<Key>& all) {
  using namespace std::chrono_literals;
  all.push_back(integer("checkpoint", "interval", 0, kBillion, "100",
                        "steps between checkpoints; 0: only at the end", FIELD(checkpoint.interval)));
  all.push_back(
      integer("checkpoint", "keep", 1, 1'000'000, "3", "newest checkpoints to keep", FIELD(checkpoint.keep)));
  all.push_back(span("checkpoint", "end_lead_min", 1s, 1h, "10s",
                     "a run saves at least so long before its plan's segment ends",
                     FIELD(checkpoint.end_lead_min)));
  all.push_back(span("checkpoint", "end_lead_max", 1s, 1h, "600s",
                     "and at most so long before, however slow its saves", FIELD(checkpoint.end_lead_max)));
  all.push_back(real("checkpoint", "end_lead_safety", 1, 100, "2",
                     "in between: this many times its slowest recent save",
                     FIELD(checkpoint.end_lead_safety)));
  all.push_back(span("resilience", "heartbeat_interval", 10ms, 60s, "100ms",
                     "time between two heartbeats of an agent", FIELD(resilience.heartbeat_interval)));
  all.push_back(span("resilience", "heartbeat_timeout", 50ms, 1h, "1s", "an agent silent for so long is lost",
                     FIELD(resilience.heartbeat_timeout)));
  all.push_back(span("resilience", "collective_timeout", 1s, 24h, "60s",
                     "longest wait for a peer within a step", FIELD(resilience.collective_timeout)));
  all.push_back(span("resilience", "startup_timeout", 1s, 24h, "120s",
                     "longest wait for all agents and workers to start", FIELD(resilience.startup_timeout)));
  all.push_back(integer("resilience", "max_restarts", 0, 1000, "3",
                        "restarts without a new checkpoint before giving up",
                        FIELD(resilience.max_restarts)));
}

void add_resource_keys(std::vector<Key>& all) {
  all.push_back(
      integer("resources", "nodes", 1, 65536, kRequired, "nodes that train", FIELD(resources.nodes)));
  all.push_back(integer("resources", "workers_per_node", 1, 64, "1", "worker processes on a node",
                        FIELD(resources.workers_per_node)));
  all.push_back(integer("resources", "threads_per_worker", 0, 1024, "0",
                        "threads of one worker; 0: the cores of its share",
                        FIELD(resources.threads_per_worker)));
  all.push_back(real("resources", "worker_tflops", 0, 1e6, "0",
                     "peak of one worker's device in TFLOP/s, of which MFU is a share; 0: the speed of its "
                     "matrix products, measured at the start",
                     FIELD(resources.worker_tflops)));
  all.push_back(
      choice("resources", "device", {"auto", "cpu", "gpu"}, "auto",
             "what workers compute on; auto: GPUs, where each worker of a node can have one of its own",
             FIELD(resources.device)));
  all.push_back(text("resources", "gres", "Slurm's form", "", "generic resources of each node, such as gpu:8",
                     check_gres, FIELD(resources.gres)));
  all.push_back({info("resources", "time_limit", "duration", "0, 1m .. 3650d", "0",
                      "of the job; 0: the rest of the plan's segment; a bare number is minutes"),
                 set_time_limit, get_time_limit});
}

#undef FIELD

}  // namespace

const std::vector<Key>& keys() {
  static const std::vector<Key> kKeys = [] {
    std::vector<Key> all;
    add_run_keys(all);
    add_model_keys(all);
    add_data_keys(all);
    add_optim_keys(all);
    add_parallel_keys(all);
    add_topology_keys(all);
    add_survival_keys(all);
    add_resource_keys(all);
    return all;
  }();
  return kKeys;
}

}  // namespace stint::recipes
