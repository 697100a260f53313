// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/llama.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "autograd_llama.h"
#include "base/final_error.h"
#include "reference.h"
#include "trainer/model/random.h"

namespace stint::model {
namespace {

constexpr std::int64_t kBatch = 2, kColumns = 8;

Config tiny(bool tied, bool bf16) {
  Config c;
  c.vocab_size = 11;
  c.hidden_size = 24;
  c.intermediate_size = 10;
  c.layers = 2;
  c.heads = 4;
  c.key_value_heads = 2;
  c.rope_theta = 100;
  c.rms_norm_eps = 1e-5;
  c.initializer_range = 0.25;
  c.tied = tied;
  c.bf16 = bf16;
  return c;
}

struct Fixture {
  Config config;
  Layout layout;
  std::vector<float> parameters, operands, gradients;
  std::vector<std::int64_t> tokens;
  FlatStorage storage;
  Llama model;

  explicit Fixture(const Config& c, bool checkpointing = false)
      : config(c),
        layout(c),
        parameters(layout.floats()),
        operands(layout.floats()),
        gradients(layout.floats()),
        tokens(kBatch * kColumns),
        storage(layout, operand_of(c), operands.data(), gradients),
        model(c, layout, storage, checkpointing) {
    start_mathematics(1);
    initialize(c, layout, 3, parameters);
    // What stands in fresh gradients has no meaning.
    for (const auto& p : layout.parameters())
      std::fill_n(gradients.begin() + static_cast<std::ptrdiff_t>(p.offset), p.count, std::nanf(""));
    // Norms away from one, so that an error in them shows.
    for (const auto& p : layout.parameters())
      if (p.is_norm())
        for (std::size_t i = 0; i < p.count; ++i)
          parameters[p.offset + i] = 0.5f + 0.05f * static_cast<float>(i % 24);
    const auto& ops = *kernels_of(operand_of(c)).front();
    const auto count = static_cast<std::int64_t>(parameters.size());
    ops.to_operand(parameters.data(), count, operands.data());
    ops.to_floats(operands.data(), count, parameters.data());  // both the same numbers
    for (std::size_t i = 0; i < tokens.size(); ++i)
      tokens[i] = static_cast<std::int64_t>(random_below(5, i, static_cast<std::uint64_t>(c.vocab_size)));
  }

  double reference(std::span<const double> values) const {
    return reference_loss(config, layout, values, tokens, kBatch, 1.0 / 14);
  }
  std::vector<double> as_double() const { return {parameters.begin(), parameters.end()}; }

  // Central differences of the reference: in double good to some nine digits.
  std::vector<double> reference_gradients() const {
    constexpr double kStep = 1e-5;
    auto values = as_double();
    std::vector<double> result(values.size());
    for (const auto& p : layout.parameters())
      for (std::size_t i = p.offset; i < p.offset + p.count; ++i) {
        const double value = values[i];
        values[i] = value + kStep;
        const double above = reference(values);
        values[i] = value - kStep;
        result[i] = (above - reference(values)) / (2 * kStep);
        values[i] = value;
      }
    return result;
  }
};

// Largest difference relative to the parameter's largest derivative.
void expect_gradients(const Fixture& f, double tolerance) {
  const auto expected = f.reference_gradients();
  for (const auto& p : f.layout.parameters()) {
    double largest = 0, difference = 0;
    for (std::size_t i = p.offset; i < p.offset + p.count; ++i) {
      largest = std::max(largest, std::abs(expected[i]));
      difference = std::max(difference, std::abs(expected[i] - f.gradients[i]));
    }
    EXPECT_GT(largest, 0) << p.name;
    EXPECT_LT(difference, tolerance * largest) << p.name;
  }
}

class LlamaTied : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Heads, LlamaTied, testing::Bool(),
                         [](const auto& info) { return info.param ? "Tied" : "Untied"; });

TEST_P(LlamaTied, LossAndGradientsEqualThoseOfPlainLoops) {
  Fixture f(tiny(GetParam(), false));
  const double loss = f.model.forward_backward(f.tokens, kBatch, 1.0 / 14);
  EXPECT_NEAR(loss, f.reference(f.as_double()), 2e-6);
  expect_gradients(f, 2e-5);
}

TEST_P(LlamaTied, Bf16StaysNearPlainLoops) {
  Fixture f(tiny(GetParam(), true));
  const double loss = f.model.forward_backward(f.tokens, kBatch, 1.0 / 14),
               exact = f.reference(f.as_double());
  EXPECT_NEAR(loss, exact, 0.03);
  EXPECT_NE(static_cast<float>(loss), static_cast<float>(exact)) << "the products were not in bf16";
  expect_gradients(f, 0.15);
}

// Sizes at which tiles, blocks and chunks are many and the last of each is not full.
Config several_tiles(bool bf16) {
  Config c = tiny(false, bf16);
  c.vocab_size = 70'000;
  c.hidden_size = 120;
  c.intermediate_size = 100;
  c.heads = 6;
  c.initializer_range = 0.05;
  return c;
}

// Each parameter's largest difference, relative to its largest derivative.
void expect_near(const Layout& layout, std::span<const float> found, std::span<const float> expected,
                 float tolerance) {
  for (const auto& p : layout.parameters()) {
    float largest = 0, difference = 0;
    for (std::size_t i = p.offset; i < p.offset + p.count; ++i) {
      largest = std::max(largest, std::abs(expected[i]));
      difference = std::max(difference, std::abs(expected[i] - found[i]));
    }
    EXPECT_GT(largest, 0) << p.name;
    EXPECT_LE(difference, tolerance * largest) << p.name;
  }
}

struct Products {
  const char* name;
  bool bf16, fp16;
  double loss_scale, loss, gradients;  // and how far off they may be
};
class LlamaByHand : public testing::TestWithParam<Products> {};
INSTANTIATE_TEST_SUITE_P(Kinds, LlamaByHand,
                         testing::Values(Products{"Fp32", false, false, 1, 2e-6, 2e-5},
                                         Products{"Bf16", true, false, 1, 2e-3, 0.04},
                                         Products{"Fp16", false, true, 1024, 2e-4, 0.005}),
                         [](const auto& info) { return info.param.name; });

TEST_P(LlamaByHand, EqualsAutograd) {
  constexpr std::int64_t kRows = 3, kLength = 151;
  Config config = several_tiles(GetParam().bf16);
  config.fp16 = GetParam().fp16;
  Fixture f(config);
  std::vector<std::int64_t> tokens(kRows * (kLength + 1));
  for (std::size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<std::int64_t>(random_below(6, i, 70'000));
  std::vector<float> expected(f.gradients.size());
  AutogradLlama autograd(f.config, f.layout, f.parameters, expected);
  const double scale = GetParam().loss_scale / (kRows * kLength);
  const double loss = f.model.forward_backward(tokens, kRows, scale) / GetParam().loss_scale;
  EXPECT_NEAR(loss, autograd.forward_backward(tokens, kRows, scale) / GetParam().loss_scale, GetParam().loss);
  expect_near(f.layout, f.gradients, expected, static_cast<float>(GetParam().gradients));
}

TEST(Llama, ActivationCheckpointingGivesTheSameBits) {
  for (const bool bf16 : {false, true}) {
    Fixture kept(tiny(false, bf16)), again(tiny(false, bf16), true);
    for (int pass = 0; pass < 2; ++pass)
      EXPECT_EQ(kept.model.forward_backward(kept.tokens, kBatch, 1),
                again.model.forward_backward(again.tokens, kBatch, 1));
    EXPECT_EQ(kept.gradients, again.gradients);
  }
}

TEST(Llama, BackwardAddsToWhatTheGradientsHold) {
  Fixture f(tiny(false, false));
  f.model.forward_backward(f.tokens, kBatch, 1);
  const auto once = f.gradients;
  f.model.forward_backward(f.tokens, kBatch, 1);
  for (std::size_t i = 0; i < once.size(); ++i)
    ASSERT_NEAR(f.gradients[i], 2 * once[i], 1e-6f * std::abs(once[i]) + 1e-7f) << i;
}

TEST(Llama, TokenOutsideOfTheVocabularyIsNamed) {
  Fixture f(tiny(false, false));
  f.tokens[0] = f.config.vocab_size;
  EXPECT_THAT([&] { f.model.forward_backward(f.tokens, kBatch, 1); },
              testing::ThrowsMessage<Error>("model: token 11 is not in the vocabulary of 11"));
}

TEST(Llama, PaddingBetweenGroupsStaysZero) {
  Fixture f(tiny(false, false));
  f.model.forward_backward(f.tokens, kBatch, 1);
  std::vector<bool> used(f.layout.floats());
  for (const auto& p : f.layout.parameters())
    std::fill_n(used.begin() + static_cast<long>(p.offset), p.count, true);
  EXPECT_TRUE(std::count(used.begin(), used.end(), false) > 0);
  for (std::size_t i = 0; i < used.size(); ++i) {
    if (used[i]) continue;
    EXPECT_TRUE(f.gradients[i] == 0 && f.parameters[i] == 0) << i;
  }
}

TEST(Llama, ForwardAloneLeavesGradientsAlone) {
  Fixture f(tiny(false, false));
  const auto before = f.gradients;
  const double loss = f.model.forward(f.tokens, kBatch, 1);
  EXPECT_EQ(std::memcmp(f.gradients.data(), before.data(), before.size() * sizeof(float)), 0);
  EXPECT_EQ(loss, f.model.forward_backward(f.tokens, kBatch, 1));
}

TEST(Llama, RepeatedRunsGiveEqualBits) {
  for (const bool bf16 : {false, true}) {
    Fixture a(tiny(true, bf16)), b(tiny(true, bf16));
    EXPECT_EQ(a.model.forward_backward(a.tokens, kBatch, 1), b.model.forward_backward(b.tokens, kBatch, 1));
    EXPECT_EQ(a.gradients, b.gradients);
  }
}

TEST(Llama, MemoryThatIsNotToBeHadIsFinalAndCounted) {
  auto wide = tiny(false, false);
  wide.intermediate_size = 1 << 16;
  Fixture f(wide);
  const std::vector<std::int64_t> tokens((1 << 22) + 1);
  EXPECT_THAT([&] { f.model.forward(tokens, 1, 1); },
              testing::ThrowsMessage<FinalError>(testing::MatchesRegex(
                  "memory: 1 sequence of 4194304 tokens does not fit: [0-9]+ bytes are not to be had; lower "
                  "data.micro_batch_size or data.sequence_length")));
  EXPECT_GT(f.model.forward(f.tokens, kBatch, 1), 0) << "it is of no more use afterwards";
}

TEST(Llama, RefusesTokensThatDoNotFit) {
  Fixture f(tiny(false, false));
  EXPECT_THROW(f.model.forward(std::span(f.tokens).first(15), 2, 1), Error);
  EXPECT_THROW(f.model.forward(std::span(f.tokens).first(2), 2, 1), Error);
}

}  // namespace
}  // namespace stint::model
