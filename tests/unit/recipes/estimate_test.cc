// SPDX-License-Identifier: Apache-2.0
#include "recipes/estimate.h"

#include <gmock/gmock.h>

namespace stint::recipes {
namespace {

using std::chrono::minutes;
using testing::HasSubstr;

// As published (Llama 3, table 3; Hugging Face's config.json).
Recipe llama3_8b() {
  Recipe recipe;
  recipe.model.vocab_size = 128'256;
  recipe.model.hidden_size = 4'096;
  recipe.model.intermediate_size = 14'336;
  recipe.model.num_hidden_layers = 32;
  recipe.model.num_attention_heads = 32;
  recipe.model.num_key_value_heads = 8;
  recipe.data.sequence_length = 8'192;
  recipe.data.global_batch_size = 128;
  recipe.run.steps = 1'000;
  return recipe;
}

TEST(Estimate, ParametersAreThosePublished) {
  EXPECT_EQ(estimate(llama3_8b()).parameters, 8'030'261'248);
}

TEST(Estimate, ATiedEmbeddingCountsOnceAndIsMultipliedOnceAllTheSame) {
  Recipe tied = llama3_8b();
  tied.model.tie_word_embeddings = true;
  EXPECT_EQ(estimate(llama3_8b()).parameters - estimate(tied).parameters, 128'256 * 4'096);
  EXPECT_EQ(estimate(llama3_8b()).flops_per_token, estimate(tied).flops_per_token);
}

TEST(Estimate, ATokenCostsSixFlopsAParameterAndItsShareOfAttention) {
  const auto whole = estimate(llama3_8b());
  const double products = 6.0 * (8'030'261'248 - 128'256 * 4'096 - 65 * 4'096);
  EXPECT_DOUBLE_EQ(whole.flops_per_token, products + 6.0 * 32 * 4'096 * 8'192);
  EXPECT_EQ(whole.tokens, 1'000LL * 128 * 8'192);
}

TEST(Estimate, TimeIsWholeMinutesWithATenthMoreAndGoesWithNodesAndSpeed) {
  Estimate known;
  known.flops_per_token = 1e9;
  known.tokens = 5'990'000;  // 5.99e15 FLOPs: 5,990 s on one node of one TFLOP/s
  EXPECT_EQ(run_time(known, 1, 1), minutes{110});
  EXPECT_EQ(run_time(known, 4, 1), minutes{28});
  EXPECT_EQ(run_time(known, 1, 400), minutes{1});
}

TEST(Estimate, WithoutASpeedTheTextSaysWhereToGiveOne) {
  EXPECT_THAT(to_text(estimate(llama3_8b()), 4, 0), HasSubstr("[recipes] node_tflops"));
  EXPECT_THAT(to_text(estimate(llama3_8b()), 4, 400), HasSubstr("on 4 nodes of 400 TFLOP/s"));
}

}  // namespace
}  // namespace stint::recipes
