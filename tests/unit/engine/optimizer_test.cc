// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/optimizer.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <vector>

#include "tiny.h"
#include "trainer/model/random.h"

namespace stint::engine {
namespace {

std::vector<float> noise(std::size_t count, const char* name, double scale = 1) {
  std::vector<float> values(count);
  model::fill_normal(values, 1, name, scale);
  return values;
}

TEST(GradientNorm, EqualsTheSumInDoubleAndIgnoresThreads) {
  const auto values = noise(300'007, "g");
  double sum = 0;
  for (double v : values) sum += v * v;
  omp_set_num_threads(1);
  const double one = gradient_norm(values);
  omp_set_num_threads(3);
  const double three = gradient_norm(values);
  omp_set_num_threads(1);
  EXPECT_NEAR(one, std::sqrt(sum), 1e-9 * one);
  EXPECT_EQ(one, three);
  EXPECT_EQ(gradient_norm({}), 0);
}

TEST(GradientNorm, IsNotFiniteWhereAGradientIsNot) {
  std::vector<float> values(100, 1.0f);
  values[77] = std::nanf("");
  EXPECT_TRUE(std::isnan(gradient_norm(values)));
  values[77] = INFINITY;
  EXPECT_TRUE(std::isinf(gradient_norm(values)));
  values[77] = 3e38f;
  EXPECT_TRUE(std::isfinite(gradient_norm(values)));
}

TEST(ClipFactor, BringsTheNormToTheLimitOnly) {
  EXPECT_EQ(clip_factor(0.5, 1), 1);
  EXPECT_EQ(clip_factor(4, 1), 0.25);
  EXPECT_EQ(clip_factor(4, 0), 1);
}

struct Replica {
  std::vector<float> p, g, m, v;
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
  adamw_update({0.9, 0.95, 1e-8, 0.1}, layout, 1e-2, 0.5, 3, r.p, r.g, r.m, r.v);
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

TEST(AdamW, BitsDoNotDependOnThreads) {
  const auto layout = layout_of(5000);
  auto one = replica(layout), three = replica(layout);
  omp_set_num_threads(1);
  adamw_update({0.9, 0.95, 1e-8, 0.1}, layout, 1e-2, 1, 1, one.p, one.g, one.m, one.v);
  omp_set_num_threads(3);
  adamw_update({0.9, 0.95, 1e-8, 0.1}, layout, 1e-2, 1, 1, three.p, three.g, three.m, three.v);
  omp_set_num_threads(1);
  EXPECT_EQ(one.p, three.p);
  EXPECT_EQ(one.v, three.v);
}

TEST(LearningRate, WarmsUpThenFallsAlongAHalfCosine) {
  auto recipe = tiny_recipe("");
  recipe.run.steps = 100;
  recipe.optim.warmup_steps = 20;
  recipe.optim.learning_rate = 1;
  recipe.optim.min_learning_rate = 0.1;
  EXPECT_DOUBLE_EQ(learning_rate(recipe, 0), 0.05);
  EXPECT_DOUBLE_EQ(learning_rate(recipe, 19), 1);
  EXPECT_DOUBLE_EQ(learning_rate(recipe, 20), 1);
  EXPECT_NEAR(learning_rate(recipe, 60), 0.55, 1e-12);
  EXPECT_NEAR(learning_rate(recipe, 100), 0.1, 1e-12);
  for (int i = 21; i < 100; ++i) EXPECT_LT(learning_rate(recipe, i), learning_rate(recipe, i - 1));
  recipe.optim.warmup_steps = 100;
  EXPECT_DOUBLE_EQ(learning_rate(recipe, 99), 1);
}

}  // namespace
}  // namespace stint::engine
