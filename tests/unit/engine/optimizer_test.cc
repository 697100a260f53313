// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/optimizer.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tiny.h"
#include "trainer/model/config.h"
#include "trainer/model/random.h"

namespace stint::engine {
namespace {

std::vector<float> noise(std::size_t count, const char* name, double scale = 1) {
  std::vector<float> values(count);
  model::fill_normal(values, 1, name, scale);
  return values;
}

double sum_of_squares(const std::vector<float>& values) {
  return SquareSum({values}, model::cpu()).take();
}

TEST(SumOfSquares, EqualsTheSumInDoubleAndIgnoresThreads) {
  const auto values = noise(300'007, "g");
  double sum = 0;
  for (double v : values) sum += v * v;
  omp_set_num_threads(1);
  const double one = sum_of_squares(values);
  omp_set_num_threads(3);
  const double three = sum_of_squares(values);
  omp_set_num_threads(1);
  EXPECT_NEAR(one, sum, 1e-9 * one);
  EXPECT_EQ(one, three);
  EXPECT_EQ(sum_of_squares({}), 0);
}

TEST(SumOfSquares, IsNotFiniteWhereAGradientIsNot) {
  std::vector<float> values(100, 1.0f);
  values[77] = std::nanf("");
  EXPECT_TRUE(std::isnan(sum_of_squares(values)));
  values[77] = INFINITY;
  EXPECT_TRUE(std::isinf(sum_of_squares(values)));
  values[77] = 3e38f;
  EXPECT_TRUE(std::isfinite(sum_of_squares(values)));
}

TEST(ClipFactor, BringsTheNormToTheLimitOnly) {
  EXPECT_EQ(clip_factor(0.5, 1), 1);
  EXPECT_EQ(clip_factor(4, 1), 0.25);
  EXPECT_EQ(clip_factor(4, 0), 1);
}

struct Replica {
  std::vector<float> p, g, m, v;

  // One update of all parameters, in slices of at most `most`.
  void update(const model::Layout& layout, double factor, std::int64_t number,
              std::size_t most = kHostSlice) {
    std::vector<Slice> slices;
    for (const auto& parameter : layout.parameters())
      for (std::size_t at = parameter.offset, end = at + parameter.count; at < end; at += most)
        slices.push_back({&p[at], &g[at], &m[at], &v[at], std::min(most, end - at), parameter.decays});
    adamw_update({0.9, 0.95, 1e-8, 0.1}, 1e-2, factor, number, slices, model::cpu(), model::Operand::kFloat);
  }
};

Replica replica(const model::Layout& layout) {
  return {noise(layout.floats(), "p"), noise(layout.floats(), "g", 0.1), noise(layout.floats(), "m", 0.1),
          std::vector<float>(layout.floats(), 0.01f)};
}

model::Layout layout_of(std::int64_t vocabulary) {
  auto recipe = tiny_recipe("");
  recipe.model.vocab_size = vocabulary;
  return model::Layout(model::config_of(recipe));
}

TEST(AdamW, EqualsTheFormulaInDouble) {
  const auto layout = layout_of(5000);  // several chunks
  auto r = replica(layout);
  const auto before = r;
  r.update(layout, 0.5, 3);
  for (const auto& parameter : layout.parameters())
    for (std::size_t i = parameter.offset; i < parameter.offset + parameter.count; ++i) {
      const double g = 0.5 * before.g[i], m = 0.9 * before.m[i] + 0.1 * g,
                   v = 0.95 * before.v[i] + 0.05 * g * g;
      const double decay = parameter.decays ? 0.1 : 0;
      const double step = m / (1 - std::pow(0.9, 3)) / (std::sqrt(v / (1 - std::pow(0.95, 3))) + 1e-8);
      ASSERT_NEAR(r.p[i], before.p[i] * (1 - 1e-2 * decay) - 1e-2 * step, 2e-6) << parameter.name << " " << i;
      ASSERT_NEAR(r.m[i], m, 1e-6);
      ASSERT_NEAR(r.v[i], v, 1e-6);
    }
}

TEST(AdamW, BitsDoNotDependOnThreadsOrSlices) {
  const auto layout = layout_of(5000);
  auto one = replica(layout), three = replica(layout);
  omp_set_num_threads(1);
  one.update(layout, 1, 1);
  omp_set_num_threads(3);
  three.update(layout, 1, 1, 1000);
  omp_set_num_threads(1);
  EXPECT_EQ(one.p, three.p);
  EXPECT_EQ(one.v, three.v);
}

recipes::Recipe hundred_steps(const char* schedule) {
  auto recipe = tiny_recipe("");
  recipe.run.steps = 100;
  recipe.optim.warmup_steps = 20;
  recipe.optim.learning_rate = 1;
  recipe.optim.min_learning_rate = 0.1;
  recipe.optim.schedule = schedule;
  return recipe;
}

TEST(LearningRate, WarmsUpBeforeEverySchedule) {
  for (const char* schedule : {"constant", "linear", "cosine", "warmup_stable_decay"}) {
    auto recipe = hundred_steps(schedule);
    recipe.optim.decay_steps = 10;
    EXPECT_DOUBLE_EQ(learning_rate(recipe, 0), 0.05) << schedule;
    EXPECT_DOUBLE_EQ(learning_rate(recipe, 19), 1) << schedule;
    EXPECT_DOUBLE_EQ(learning_rate(recipe, 20), 1) << schedule;
    recipe.optim.decay_steps = 0;
    recipe.optim.warmup_steps = 100;
    EXPECT_DOUBLE_EQ(learning_rate(recipe, 99), 1) << schedule;
  }
}

TEST(LearningRate, FallsAlongAHalfCosine) {
  const auto recipe = hundred_steps("cosine");
  EXPECT_NEAR(learning_rate(recipe, 60), 0.55, 1e-12);
  EXPECT_NEAR(learning_rate(recipe, 100), 0.1, 1e-12);
  for (int i = 21; i < 100; ++i) EXPECT_LT(learning_rate(recipe, i), learning_rate(recipe, i - 1));
}

TEST(LearningRate, FallsAlongALineOrStays) {
  const auto linear = hundred_steps("linear"), constant = hundred_steps("constant");
  EXPECT_NEAR(learning_rate(linear, 40), 0.775, 1e-12);
  EXPECT_NEAR(learning_rate(linear, 100), 0.1, 1e-12);
  for (int i = 20; i <= 100; ++i) EXPECT_EQ(learning_rate(constant, i), 1);
}

TEST(LearningRate, IsStableUntilTheDecayAtTheEnd) {
  auto recipe = hundred_steps("warmup_stable_decay");
  recipe.optim.decay_steps = 10;
  for (int i = 20; i <= 90; ++i) EXPECT_EQ(learning_rate(recipe, i), 1);
  EXPECT_NEAR(learning_rate(recipe, 95), 0.55, 1e-12);
  EXPECT_NEAR(learning_rate(recipe, 100), 0.1, 1e-12);
}

}  // namespace
}  // namespace stint::engine
