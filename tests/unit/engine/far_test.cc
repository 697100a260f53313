// SPDX-License-Identifier: Apache-2.0
// An engine whose state lies where the host cannot touch it, as on a GPU, beside one on the CPU.
#include <gmock/gmock.h>

#include "tests/unit/model/far_device.h"
#include "world.h"

namespace stint::engine {
namespace {

struct Course {
  std::vector<double> losses, norms;
  Bits state;
  bool operator==(const Course&) const = default;
};

// Of one rank from where the run stands to step `until`, with a checkpoint begun after each second step and
// one at the end.
Course train_on(model::Device& device, const recipes::Recipe& recipe, const RunDirectory& run,
                std::int64_t until) {
  Course course;
  in_world(1, [&](comm::Communicator& communicator) {
    Engine engine(recipe, run, communicator, {}, device);
    ASSERT_TRUE(engine.start());
    while (engine.current_step() < until) {
      StepReport report;
      ASSERT_TRUE(engine.step(false, report));
      course.losses.push_back(report.loss);
      course.norms.push_back(report.grad_norm);
      if (report.step % 2 == 0) {
        ASSERT_TRUE(engine.begin_save());
      }
      for (const auto& saved : engine.take_saves()) EXPECT_FALSE(saved.error);
    }
    save(engine);
    course.state = bits_of(engine.state());
  });
  return course;
}

struct Kind {
  const char* sharding;
  const char* precision;
  bool tied = false, checkpointing = false;
};

recipes::Recipe recipe_of(const Kind& kind, const TemporaryFolder& folder) {
  auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  recipe.parallel.sharding = kind.sharding;
  recipe.parallel.activation_checkpointing = kind.checkpointing;
  recipe.model.precision = kind.precision;
  recipe.model.tie_word_embeddings = kind.tied;
  recipe.optim.grad_clip = 0.1;
  recipe.optim.loss_scale = 1 << 24;  // overflows in fp16
  return recipe;
}

class Far : public testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(
    Kinds, Far,
    testing::Values(Kind{"none", "fp32"}, Kind{"none", "bf16", true}, Kind{"none", "fp16"},
                    Kind{"zero1", "bf16"}, Kind{"zero2", "fp32", true}, Kind{"zero2", "bf16", false, true},
                    Kind{"zero3", "fp32", false, true}, Kind{"zero3", "bf16"}, Kind{"hybrid", "fp16"}),
    [](const auto& info) {
      return fmt::format("{}_{}{}{}", info.param.sharding, info.param.precision,
                         info.param.tied ? "_tied" : "", info.param.checkpointing ? "_checkpointing" : "");
    });

// Three micro-batches a step, so that gradients accumulate.
TEST_P(Far, TheHostTouchesNoStateOfItAndEveryBitIsTheCpus) {
  const TemporaryFolder near, far;
  const auto recipe = recipe_of(GetParam(), near);
  const auto expected = train_on(model::cpu(), recipe, near.run(), 6);
  const auto found = train_on(model::far_loops(), recipe, far.run(), 6);
  EXPECT_EQ(found.losses, expected.losses);
  EXPECT_TRUE(found == expected);
}

TEST_P(Far, GoesOnFromTheCpusCheckpointAndTheCpuFromIts) {
  const TemporaryFolder whole, there, back;
  const auto recipe = recipe_of(GetParam(), whole);
  const auto undisturbed = train_on(model::cpu(), recipe, whole.run(), 5);
  train_on(model::cpu(), recipe, there.run(), 2);
  EXPECT_TRUE(train_on(model::far_loops(), recipe, there.run(), 5).state == undisturbed.state);
  train_on(model::far_loops(), recipe, back.run(), 2);
  EXPECT_TRUE(train_on(model::cpu(), recipe, back.run(), 5).state == undisturbed.state);
}

// With the operators that a GPU computes with.
TEST(FarByAten, TrainsNearTheCpuAndResumesWithItsBits) {
  for (const Kind& kind : {Kind{"none", "fp32"}, Kind{"zero2", "bf16", true}, Kind{"zero3", "fp32"}}) {
    const TemporaryFolder near, far, parts;
    const auto recipe = recipe_of(kind, near);
    const auto expected = train_on(model::cpu(), recipe, near.run(), 6);
    const auto found = train_on(model::far_device(), recipe, far.run(), 6);
    const double tolerance = kind.precision == std::string("bf16") ? 0.02 : 1e-4;
    for (std::size_t i = 0; i < expected.losses.size(); ++i) {
      EXPECT_NEAR(found.losses[i], expected.losses[i], tolerance) << kind.sharding << " " << i;
      EXPECT_NEAR(found.norms[i] / expected.norms[i], 1, 10 * tolerance) << kind.sharding << " " << i;
    }
    EXPECT_LT(found.losses.back(), found.losses.front());
    train_on(model::far_device(), recipe, parts.run(), 3);
    EXPECT_TRUE(train_on(model::far_device(), recipe, parts.run(), 6).state == found.state) << kind.sharding;
  }
}

TEST(FarByAten, Fp16IsRefusedWithTheRemedy) {
  const TemporaryFolder folder;
  const auto recipe = recipe_of({"none", "fp16"}, folder);
  EXPECT_THAT([&] { train_on(model::far_device(), recipe, folder.run(), 1); },
              testing::ThrowsMessage<model::DeviceFailure>(
                  testing::HasSubstr("model.precision = fp16 is for CPUs; on a GPU take bf16")));
}

}  // namespace
}  // namespace stint::engine
