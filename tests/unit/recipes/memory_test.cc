// SPDX-License-Identifier: Apache-2.0
#include "recipes/memory.h"

#include <gmock/gmock.h>

#include "recipes/estimate.h"

namespace stint::recipes {
namespace {

Recipe recipe(const char* sharding, const char* precision = "bf16") {
  Recipe r;
  r.model.vocab_size = 32'000;
  r.model.hidden_size = 1'024;
  r.model.intermediate_size = 2'816;
  r.model.num_hidden_layers = 16;
  r.model.num_attention_heads = 16;
  r.model.num_key_value_heads = 4;
  r.model.precision = precision;
  r.data.sequence_length = 2'048;
  r.data.micro_batch_size = 1;
  r.parallel.sharding = sharding;
  r.resources.workers_per_node = 4;
  return r;
}

TEST(Memory, BytesAParameterAreThoseOfTheSharding) {
  const auto parameters = static_cast<double>(estimate(recipe("none")).parameters);
  const auto bytes = [&](const char* sharding, const char* precision, std::int64_t workers) {
    const auto m = memory(recipe(sharding, precision), workers);
    return static_cast<double>(m.parameters + m.gradients + m.optimizer) / parameters;
  };
  for (const auto& [sharding, fp32, bf16] :
       {std::tuple{"none", 16.0, 18.0}, {"zero1", 9.0, 7.5}, {"zero2", 5.5, 4.0}, {"zero3", 2.0, 2.25}}) {
    EXPECT_NEAR(bytes(sharding, "fp32", 8), fp32, 1e-6) << sharding;
    EXPECT_NEAR(bytes(sharding, "bf16", 8), bf16, 1e-6) << sharding;
    EXPECT_NEAR(bytes(sharding, "fp32", 1), 16, 1e-6) << sharding;
  }
  EXPECT_NEAR(bytes("hybrid", "fp32", 8), 4, 1e-6) << "cut among the four workers of a node";
}

TEST(Memory, ActivationCheckpointingKeepsOneLayerAndTheInputsOfAll) {
  auto kept = recipe("none"), again = kept;
  again.parallel.activation_checkpointing = true;
  EXPECT_LT(memory(again, 1).activations, 0.4 * static_cast<double>(memory(kept, 1).activations));
}

TEST(Memory, CheckpointWrittenBesideTrainingKeepsAQuarterOfTheStateAtMost) {
  auto r = recipe("zero1");
  r.checkpoint.interval = 0;
  EXPECT_EQ(memory(r, 8).checkpoint, 0) << "the last one is waited for";
  r.checkpoint.interval = 100;
  const auto parameters = static_cast<double>(estimate(r).parameters);
  EXPECT_NEAR(static_cast<double>(memory(r, 8).checkpoint), parameters / 8 * 12 / 4, 16);
}

TEST(Memory, LogitsOfALargeVocabularyAreNeverAllThere) {
  auto r = recipe("none");
  r.model.vocab_size = 256'000;
  EXPECT_LT(memory(r, 1).logits, 40 << 20);
}

TEST(Memory, TextNamesThePartsAndTheNode) {
  const auto text = to_text(memory(recipe("zero3"), 8), 4);
  for (const char* part :
       {"parameters ", "gradients ", "optimiser ", "activations ", "logits ", "buffers ", " a node"})
    EXPECT_THAT(text, testing::HasSubstr(part));
  EXPECT_THAT(to_text(memory(recipe("none"), 8), 4), testing::Not(testing::HasSubstr("buffers")));
}

}  // namespace
}  // namespace stint::recipes
