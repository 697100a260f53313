// SPDX-License-Identifier: Apache-2.0
// Training in fp16: small derivatives survive by the loss scale, and an overflow costs one step's time alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/ini.h"
#include "world.h"

namespace stint::engine {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

struct Course {
  std::vector<double> losses, scales;  // of updates
  std::vector<double> overflows;       // the scales at which they came
  bool operator==(const Course&) const = default;
};

recipes::Recipe half_recipe(const TemporaryFolder& folder) {
  auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  recipe.model.precision = "fp16";
  return recipe;
}

// Each rank's course from where the run stands to step `until`, and a checkpoint there.
std::vector<Course> train_in_half(const recipes::Recipe& recipe, const RunDirectory& run, int size,
                                  std::int64_t until) {
  std::vector<Course> courses(static_cast<std::size_t>(size));
  in_world(size, [&](comm::Communicator& communicator) {
    Engine engine(recipe, run, communicator, {});
    ASSERT_TRUE(engine.start());
    auto& course = courses[static_cast<std::size_t>(communicator.rank())];
    while (engine.current_step() < until) {
      const auto before = bits_of(engine.state());
      StepReport report;
      ASSERT_TRUE(engine.step(false, report));
      EXPECT_EQ(report.step, before.step + 1);
      if (report.overflow) {
        EXPECT_TRUE(bits_of(engine.state()) == before) << "an overflow changed the state";
        course.overflows.push_back(report.loss_scale);
      } else {
        course.losses.push_back(report.loss);
        course.scales.push_back(report.loss_scale);
      }
    }
    save(engine);
  });
  return courses;
}

class HalfPrecision : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Shardings, HalfPrecision, testing::Values("none", "zero1", "zero2", "zero3"),
                         [](const auto& info) { return info.param; });

TEST_P(HalfPrecision, DoesAnOverflowedStepAgainWithASmallerScaleOnEveryRank) {
  const TemporaryFolder folder;
  auto recipe = half_recipe(folder);
  recipe.parallel.sharding = GetParam();
  recipe.optim.loss_scale = 1 << 24;
  const auto courses = train_in_half(recipe, folder.run(), 2, 6);
  EXPECT_EQ(courses[0], courses[1]);
  ASSERT_FALSE(courses[0].overflows.empty());
  EXPECT_EQ(courses[0].overflows.front(), 1 << 24);
  EXPECT_LT(courses[0].scales.front(), 1 << 24);
  EXPECT_EQ(courses[0].losses.size(), 6);
}

TEST(HalfPrecisionTraining, StaysNearFp32) {
  const TemporaryFolder folder, other;
  auto recipe = half_recipe(folder);
  recipe.run.steps = 40;
  const auto half = train_in_half(recipe, folder.run(), 1, 40).front().losses;
  recipe.model.precision = "fp32";
  std::vector<double> whole;
  train(recipe, other.run(), 1, 40, &whole);
  EXPECT_NE(half, whole) << "nothing was rounded";
  for (std::size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(half[i], whole[i], 0.05) << i;
  EXPECT_LT(half.back(), half.front() - 1.5);
}

TEST(HalfPrecisionTraining, GoesOnWithTheScaleOfItsCheckpointBitForBit) {
  const TemporaryFolder whole, parts;
  auto recipe = half_recipe(whole);
  recipe.optim.loss_scale = 1 << 20;
  recipe.optim.loss_scale_interval = 3;
  const auto undisturbed = train_in_half(recipe, whole.run(), 2, 9).front();
  auto resumed = train_in_half(recipe, parts.run(), 2, 4).front();
  const auto rest = train_in_half(recipe, parts.run(), 2, 9).front();
  resumed.losses.insert(resumed.losses.end(), rest.losses.begin(), rest.losses.end());
  resumed.scales.insert(resumed.scales.end(), rest.scales.begin(), rest.scales.end());
  resumed.overflows.insert(resumed.overflows.end(), rest.overflows.begin(), rest.overflows.end());
  EXPECT_EQ(resumed, undisturbed);
  EXPECT_NE(undisturbed.scales.front(), undisturbed.scales.back()) << "the scale never changed";
  const auto manifest = nlohmann::json::parse(
      read_file((parts.run().checkpoints() / "step-00000004" / "manifest.json").string(), 1 << 20));
  EXPECT_EQ(manifest.at("precision"), "fp16");
  EXPECT_TRUE(manifest.at("loss_scale").at("value").is_number());
}

TEST(HalfPrecisionTraining, WhatNoScaleHelpsIsFinalAndNamesARemedy) {
  const TemporaryFolder folder;
  auto recipe = half_recipe(folder);
  recipe.optim.learning_rate = 1e5;
  recipe.optim.warmup_steps = 0;
  recipe.optim.grad_clip = 0;
  EXPECT_THAT([&] { train_in_half(recipe, folder.run(), 1, 12); },
              ThrowsMessage<FinalError>(AllOf(HasSubstr("not finite"), HasSubstr("model.precision = bf16"))));
}

}  // namespace
}  // namespace stint::engine
