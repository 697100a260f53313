// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "base/error.h"
#include "tests/unit/recipes/recipe_folder.h"

namespace stint::recipes {
namespace {

TEST(Rules, EachRuleNamesItsKeysAndValues) {
  const RecipeFolder folder;
  const auto problem = [&](const std::string& overrides) {
    return folder.problem("small,data.path=t," + overrides);
  };
  EXPECT_EQ(problem("model.hidden_size=9"),
            "small: model.hidden_size 9 is not divisible by model.num_attention_heads 2");
  EXPECT_EQ(problem("model.num_attention_heads=4,model.num_key_value_heads=3"),
            "small: model.num_attention_heads 4 is not divisible by model.num_key_value_heads 3");
  EXPECT_EQ(problem("model.num_key_value_heads=4"),
            "small: model.num_attention_heads 2 is not divisible by model.num_key_value_heads 4");
  EXPECT_EQ(
      problem("model.hidden_size=6"),
      "small: model.hidden_size / model.num_attention_heads is 3; the rotary embedding needs an even number");
  EXPECT_EQ(problem("model.vocab_size=255"),
            "small: model.vocab_size 255 is too small; data.tokenizer = bytes needs 256");
  EXPECT_EQ(problem("resources.nodes=3,resources.workers_per_node=11"),
            "small: data.global_batch_size 32 is less than the 33 workers (resources.nodes times "
            "resources.workers_per_node)");
  EXPECT_EQ(problem("data.micro_batch_size=33"),
            "small: data.micro_batch_size 33 is larger than data.global_batch_size 32");
  EXPECT_EQ(problem("optim.warmup_steps=11"), "small: optim.warmup_steps 11 is more than run.steps 10");
  EXPECT_EQ(problem("optim.min_learning_rate=0.1"),
            "small: optim.min_learning_rate 0.1 is larger than optim.learning_rate 0.01");
  EXPECT_EQ(problem("optim.schedule=warmup_stable_decay"),
            "small: optim.schedule warmup_stable_decay with optim.decay_steps 0; set decay_steps, a tenth of "
            "run.steps for one");
  EXPECT_EQ(problem("optim.decay_steps=2"),
            "small: optim.schedule cosine with optim.decay_steps 2; decay_steps are of warmup_stable_decay: "
            "use that or leave them out");
  EXPECT_EQ(problem("optim.schedule=warmup_stable_decay,optim.decay_steps=6,optim.warmup_steps=5"),
            "small: optim.warmup_steps 5 and decay_steps 6 are together more than run.steps 10");
  EXPECT_EQ(problem("parallel.shard_degree=2"),
            "small: parallel.shard_degree 2 with parallel.sharding none; it is of hybrid: use that or leave "
            "it out");
  EXPECT_EQ(problem("parallel.sharding=hybrid"),
            "small: parallel.sharding hybrid has nothing to share out in a node of one worker; set "
            "parallel.shard_degree or use zero3");
  EXPECT_EQ(problem("parallel.sharding=hybrid,parallel.shard_degree=3,resources.workers_per_node=2"),
            "small: parallel.shard_degree 3 does not divide the 4 workers (resources.nodes times "
            "resources.workers_per_node); take one that does");
  EXPECT_EQ(
      problem("resilience.heartbeat_interval=400ms"),
      "small: resilience.heartbeat_timeout 1000ms is less than 3 times resilience.heartbeat_interval 400ms");
}

TEST(Rules, LimitsThemselvesAreAllowed) {
  const RecipeFolder folder;
  EXPECT_EQ(folder.problem(
                "small,data.path=t,resources.nodes=4,resources.workers_per_node=8,data.micro_batch_size=32,"
                "optim.warmup_steps=10,optim.min_learning_rate=0.01,resilience.heartbeat_timeout=300ms,"
                "model.num_key_value_heads=2,model.hidden_size=4"),
            "no error");
  EXPECT_EQ(folder.problem("small,data.path=t,optim.schedule=warmup_stable_decay,optim.decay_steps=5,"
                           "optim.warmup_steps=5,parallel.sharding=hybrid,parallel.shard_degree=2"),
            "no error");
}

}  // namespace
}  // namespace stint::recipes
