// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "recipes/estimate.h"

namespace stint::model {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

recipes::Recipe recipe() {
  recipes::Recipe r;
  r.model.architecture = "llama";
  r.model.precision = "fp32";
  r.model.vocab_size = 256;
  r.model.hidden_size = 64;
  r.model.intermediate_size = 100;
  r.model.num_hidden_layers = 2;
  r.model.num_attention_heads = 8;
  r.model.num_key_value_heads = 2;
  return r;
}

TEST(ModelConfig, HasAsManyParametersAsTheRecipeIsEstimatedToHave) {
  for (const bool tied : {false, true}) {
    auto r = recipe();
    r.model.tie_word_embeddings = tied;
    EXPECT_EQ(Layout(config_of(r)).parameter_count(), recipes::estimate(r).parameters);
  }
}

TEST(ModelConfig, NamesAndShapesAreHuggingFaces) {
  const Layout layout(config_of(recipe()));
  std::vector<std::string> names;
  for (const auto& p : layout.parameters()) names.push_back(p.name);
  EXPECT_THAT(names, testing::Contains("model.layers.1.post_attention_layernorm.weight"));
  EXPECT_EQ(names.front(), "model.embed_tokens.weight");
  EXPECT_EQ(names.back(), "lm_head.weight");
  EXPECT_EQ(names.size(), 3 + 2 * 9);
  EXPECT_EQ(layout.at("model.layers.0.self_attn.k_proj.weight").shape, (std::vector<std::int64_t>{16, 64}));
  EXPECT_EQ(layout.at("model.layers.1.mlp.down_proj.weight").shape, (std::vector<std::int64_t>{64, 100}));
  EXPECT_EQ(layout.parameter_count(),
            2 * 256 * 64 + 64 + 2 * (64 * (64 + 16 + 16 + 64) + 3 * 64 * 100 + 2 * 64));
}

TEST(ModelConfig, PartsOfOneProductLieSideBySideOnALine) {
  const Layout layout(config_of(recipe()));
  const auto& q = layout.at("model.layers.1.self_attn.q_proj.weight");
  const auto& k = layout.at("model.layers.1.self_attn.k_proj.weight");
  const auto& v = layout.at("model.layers.1.self_attn.v_proj.weight");
  const auto& gate = layout.at("model.layers.1.mlp.gate_proj.weight");
  EXPECT_EQ(k.offset, q.offset + q.count);
  EXPECT_EQ(v.offset, k.offset + k.count);
  EXPECT_EQ(layout.at("model.layers.1.mlp.up_proj.weight").offset, gate.offset + gate.count);
  EXPECT_EQ(q.offset % 16, 0);
  EXPECT_EQ(gate.offset % 16, 0);
}

TEST(ModelConfig, NormsAndEmbeddingsDoNotDecay) {
  const Layout layout(config_of(recipe()));
  for (const auto& p : layout.parameters()) {
    const bool exempt = p.name.find("norm") != std::string::npos || p.name == "model.embed_tokens.weight" ||
                        p.name == "lm_head.weight";
    EXPECT_EQ(p.decays, !exempt) << p.name;
  }
}

TEST(ModelConfig, TiedModelHasNoHead) {
  auto r = recipe();
  r.model.tie_word_embeddings = true;
  EXPECT_THROW(Layout(config_of(r)).at("lm_head.weight"), Error);
}

TEST(ModelConfig, SizesThatDoNotFitAreRefusedByName) {
  auto r = recipe();
  r.model.num_attention_heads = 7;
  EXPECT_THAT([&] { config_of(r); },
              ThrowsMessage<Error>(HasSubstr("model.hidden_size = 64 is not a multiple")));
  r = recipe();
  r.model.num_key_value_heads = 3;
  EXPECT_THAT([&] { config_of(r); }, ThrowsMessage<Error>(HasSubstr("model.num_key_value_heads = 3")));
  r = recipe();
  r.model.hidden_size = 72;
  EXPECT_THAT([&] { config_of(r); }, ThrowsMessage<Error>(HasSubstr("even head size")));
  r = recipe();
  r.model.precision = "fp8";
  EXPECT_THAT([&] { config_of(r); }, ThrowsMessage<Error>(HasSubstr("fp32, bf16 or fp16")));
}

TEST(ModelConfig, HuggingFaceConfigNamesTheArchitecture) {
  const auto config = huggingface_config(config_of(recipe()), 128);
  EXPECT_EQ(config.at("model_type"), "llama");
  EXPECT_EQ(config.at("num_key_value_heads"), 2);
  EXPECT_EQ(config.at("max_position_embeddings"), 128);
}

}  // namespace
}  // namespace stint::model
