// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"
#include "recipes/keys.h"

namespace stint::recipes {
namespace {

void check_model(const Recipe& recipe) {
  const auto& model = recipe.model;
  if (model.hidden_size % model.num_attention_heads != 0) {
    fail("model.hidden_size {} is not divisible by model.num_attention_heads {}", model.hidden_size,
         model.num_attention_heads);
  }
  if (model.num_attention_heads % model.num_key_value_heads != 0) {
    fail("model.num_attention_heads {} is not divisible by model.num_key_value_heads {}",
         model.num_attention_heads, model.num_key_value_heads);
  }
  if (model.hidden_size / model.num_attention_heads % 2 != 0) {
    fail("model.hidden_size / model.num_attention_heads is {}; the rotary embedding needs an even number",
         model.hidden_size / model.num_attention_heads);
  }
  if (recipe.data.tokenizer == "bytes" && model.vocab_size < 256) {
    fail("model.vocab_size {} is too small; data.tokenizer = bytes needs 256", model.vocab_size);
  }
}

void check_batch(const Recipe& recipe) {
  const std::int64_t workers = recipe.resources.nodes * recipe.resources.workers_per_node;
  if (recipe.data.global_batch_size < workers) {
    fail(
        "data.global_batch_size {} is less than the {} workers (resources.nodes times "
        "resources.workers_per_node)",
        recipe.data.global_batch_size, workers);
  }
  if (recipe.data.micro_batch_size > recipe.data.global_batch_size) {
    fail("data.micro_batch_size {} is larger than data.global_batch_size {}", recipe.data.micro_batch_size,
         recipe.data.global_batch_size);
  }
}

void check_schedule(const Recipe& recipe) {
  if (recipe.optim.warmup_steps > recipe.run.steps) {
    fail("optim.warmup_steps {} is more than run.steps {}", recipe.optim.warmup_steps, recipe.run.steps);
  }
  if (recipe.optim.min_learning_rate > recipe.optim.learning_rate) {
    fail("optim.min_learning_rate {} is larger than optim.learning_rate {}", recipe.optim.min_learning_rate,
         recipe.optim.learning_rate);
  }
  const bool decays = recipe.optim.schedule == "warmup_stable_decay";
  if (decays != (recipe.optim.decay_steps > 0)) {
    fail("optim.schedule {} with optim.decay_steps {}; {}", recipe.optim.schedule, recipe.optim.decay_steps,
         decays ? "set decay_steps, a tenth of run.steps for one"
                : "decay_steps are of warmup_stable_decay: use that or leave them out");
  }
  if (recipe.optim.warmup_steps + recipe.optim.decay_steps > recipe.run.steps) {
    fail("optim.warmup_steps {} and decay_steps {} are together more than run.steps {}",
         recipe.optim.warmup_steps, recipe.optim.decay_steps, recipe.run.steps);
  }
}

void check_parallel(const Recipe& recipe) {
  const auto& parallel = recipe.parallel;
  const std::int64_t workers = recipe.resources.nodes * recipe.resources.workers_per_node;
  if (parallel.sharding != "hybrid") {
    if (parallel.shard_degree > 0)
      fail("parallel.shard_degree {} with parallel.sharding {}; it is of hybrid: use that or leave it out",
           parallel.shard_degree, parallel.sharding);
    return;
  }
  const std::int64_t degree = shard_degree(recipe, workers);
  if (degree < 2)
    fail(
        "parallel.sharding hybrid has nothing to share out in a node of one worker; set "
        "parallel.shard_degree or use zero3");
  if (workers % degree != 0)
    fail(
        "parallel.shard_degree {} does not divide the {} workers (resources.nodes times "
        "resources.workers_per_node); take one that does",
        degree, workers);
}

void check_resilience(const Recipe& recipe) {
  constexpr int kBeats = 3;  // lost datagrams that must not look like a lost node
  const auto& resilience = recipe.resilience;
  if (resilience.heartbeat_timeout < kBeats * resilience.heartbeat_interval) {
    fail("resilience.heartbeat_timeout {}ms is less than {} times resilience.heartbeat_interval {}ms",
         resilience.heartbeat_timeout.count(), kBeats, resilience.heartbeat_interval.count());
  }
}

void check_checkpoint(const Recipe& recipe) {
  const auto& checkpoint = recipe.checkpoint;
  if (checkpoint.end_lead_min > checkpoint.end_lead_max) {
    fail("checkpoint.end_lead_min {}s is longer than checkpoint.end_lead_max {}s",
         static_cast<double>(checkpoint.end_lead_min.count()) / 1000,
         static_cast<double>(checkpoint.end_lead_max.count()) / 1000);
  }
}

}  // namespace

std::int64_t shard_degree(const Recipe& recipe, std::int64_t workers) {
  const auto& parallel = recipe.parallel;
  if (parallel.sharding == "none") return 1;
  if (parallel.sharding != "hybrid") return workers;
  return parallel.shard_degree > 0 ? parallel.shard_degree : recipe.resources.workers_per_node;
}

void check_rules(const Recipe& recipe) {
  try {
    check_model(recipe);
    check_batch(recipe);
    check_schedule(recipe);
    check_parallel(recipe);
    check_resilience(recipe);
    check_checkpoint(recipe);
  } catch (const Error& error) {
    fail("{}: {}", recipe.name, error.what());
  }
}

}  // namespace stint::recipes
