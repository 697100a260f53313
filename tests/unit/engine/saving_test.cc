// SPDX-License-Identifier: Apache-2.0
// Checkpoints that are written while training goes on.
#include <gmock/gmock.h>

#include "world.h"

namespace stint::engine {
namespace {

using testing::HasSubstr;

Bits checkpoint_of(const recipes::Recipe& recipe, const TemporaryFolder& folder, std::int64_t step) {
  const auto config = model::config_of(recipe);
  const model::Layout layout(config);
  const CheckpointStore store(folder.run().checkpoints(), config, layout, recipe.data.sequence_length);
  State state{0, Buffer(layout.floats()), Buffer(layout.floats()), Buffer(layout.floats())};
  store.load(step, state);
  return bits_of(state);
}

void step(Engine& engine) {
  StepReport report;
  ASSERT_TRUE(engine.step(false, report));
}

// Until something has come of what was begun; that.
std::vector<Engine::Save> steps_until_saved(Engine& engine) {
  for (int i = 0; i < 2000; ++i) {
    step(engine);
    if (auto saves = engine.take_saves(); !saves.empty()) return saves;
  }
  return {};
}

recipes::Recipe endless_recipe(const TemporaryFolder& folder, const char* sharding) {
  auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  recipe.run.steps = 100'000;
  recipe.parallel.sharding = sharding;
  return recipe;
}

class Saves : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Kinds, Saves, testing::Values("none", "zero1", "zero3"),
                         [](const auto& info) { return info.param; });

TEST_P(Saves, HoldTheStateOfTheStepThatBeganThem) {
  const TemporaryFolder folder;
  const auto recipe = endless_recipe(folder, GetParam());
  in_world(2, [&](comm::Communicator& communicator) {
    Engine engine(recipe, folder.run(), communicator, {});
    ASSERT_TRUE(engine.start());
    for (int i = 0; i < 3; ++i) step(engine);
    ASSERT_TRUE(engine.begin_save());
    for (int i = 0; i < 4; ++i) step(engine);
    ASSERT_TRUE(engine.begin_save());
    for (int i = 0; i < 2; ++i) step(engine);
    ASSERT_TRUE(engine.finish_save());
    const auto saves = engine.take_saves();
    ASSERT_EQ(saves.size(), communicator.rank() == 0 ? 2U : 0U);
    for (const auto& one : saves) EXPECT_FALSE(one.error);
  });
  for (const std::int64_t at : {3, 7}) {
    const TemporaryFolder undisturbed;
    train(recipe, undisturbed.run(), 2, at);
    EXPECT_TRUE(checkpoint_of(recipe, folder, at) == checkpoint_of(recipe, undisturbed, at)) << at;
  }
}

TEST_P(Saves, AreFinishedBesideTheSteps) {
  const TemporaryFolder folder;
  const auto recipe = endless_recipe(folder, GetParam());
  in_world(2, [&](comm::Communicator& communicator) {
    Engine engine(recipe, folder.run(), communicator, {});
    ASSERT_TRUE(engine.start());
    step(engine);
    ASSERT_TRUE(engine.begin_save());
    for (int i = 0; i < 2000; ++i) {
      step(engine);
      // Both leave the loop at the same step: the second sees what the first tells.
      std::int64_t safe =
          std::filesystem::exists(folder.run().checkpoints() / "step-00000001" / "manifest.json");
      ASSERT_TRUE(engine.barrier());
      ASSERT_TRUE(communicator.broadcast(std::as_writable_bytes(std::span(&safe, 1)), 0));
      if (safe != 0) return;
    }
    FAIL() << "never";
  });
}

TEST_P(Saves, ThatFailAreToldAndTrainingGoesOn) {
  const TemporaryFolder folder;
  const auto recipe = endless_recipe(folder, GetParam());
  const bool sharded = recipe.parallel.sharding != "none";
  in_world(2, [&](comm::Communicator& communicator) {
    const bool first = communicator.rank() == 0;
    Engine engine(recipe, folder.run(), communicator, {});
    ASSERT_TRUE(engine.start());
    step(engine);
    save(engine);
    step(engine);
    // A file stands where the folder of step 2 would have to.
    if (first) write_text(folder.run().checkpoints() / ".tmp-step-00000002", "in the way");
    ASSERT_TRUE(engine.barrier());
    ASSERT_TRUE(engine.begin_save());
    ASSERT_TRUE(engine.finish_save());
    const auto saves = engine.take_saves();
    ASSERT_EQ(saves.size(), first || sharded ? 1U : 0U);
    for (const auto& one : saves)
      EXPECT_THAT([&] { std::rethrow_exception(one.error); },
                  testing::ThrowsMessage<Error>(HasSubstr("checkpoint of step 2 (")));
    step(engine);
    save(engine);
  });
  const auto config = model::config_of(recipe);
  const model::Layout layout(config);
  const CheckpointStore store(folder.run().checkpoints(), config, layout, recipe.data.sequence_length);
  EXPECT_THAT(store.steps(), testing::ElementsAre(3, 1));
  EXPECT_FALSE(std::filesystem::exists(folder.run().checkpoints() / ".tmp-step-00000002"));
}

TEST(Save, TellsHowLongTrainingStoodStill) {
  const TemporaryFolder folder;
  const auto recipe = endless_recipe(folder, "none");
  in_world(1, [&](comm::Communicator& communicator) {
    Engine engine(recipe, folder.run(), communicator, {});
    ASSERT_TRUE(engine.start());
    step(engine);
    ASSERT_TRUE(engine.begin_save());
    const auto saves = steps_until_saved(engine);
    ASSERT_EQ(saves.size(), 1);
    EXPECT_GT(saves[0].saved.blocked, 0);
    EXPECT_GT(saves[0].saved.seconds, saves[0].saved.blocked);
  });
}

}  // namespace
}  // namespace stint::engine
