// SPDX-License-Identifier: Apache-2.0
// However the state is cut, a run comes to the same weights, and any cut goes on from any other's checkpoint.
#include <gmock/gmock.h>

#include "world.h"

namespace stint::engine {
namespace {

using testing::HasSubstr;

struct Cut {
  const char* sharding;
  int world;
  int degree = 0;
};
std::string name_of(const Cut& cut) {
  return fmt::format("{}{}{}", cut.sharding, cut.world,
                     cut.degree > 0 ? fmt::format("by{}", cut.degree) : "");
}

recipes::Recipe recipe_of(const Cut& cut, const TemporaryFolder& folder) {
  auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  recipe.parallel.sharding = cut.sharding;
  recipe.parallel.shard_degree = cut.degree;
  recipe.optim.grad_clip = 0.1;      // so that the gradient's norm is of influence
  recipe.data.micro_batch_size = 6;  // else zero2 and zero3 add in another order
  return recipe;
}

// What a checkpoint holds, as one process reads it.
Bits checkpoint_of(const recipes::Recipe& recipe, const TemporaryFolder& folder, std::int64_t step) {
  const auto config = model::config_of(recipe);
  const model::Layout layout(config);
  const CheckpointStore store(folder.run().checkpoints(), config, layout, recipe.data.sequence_length);
  State state{0, Buffer(layout.floats()), Buffer(layout.floats()), Buffer(layout.floats())};
  store.load(step, state);
  return bits_of(state);
}

Bits weights_after(const Cut& cut, std::int64_t steps,
                   const std::function<void(recipes::Recipe&)>& change = {}) {
  const TemporaryFolder folder;
  auto recipe = recipe_of(cut, folder);
  if (change) change(recipe);
  train(recipe, folder.run(), cut.world, steps);
  return checkpoint_of(recipe, folder, steps);
}

class Sharding : public testing::TestWithParam<Cut> {};
INSTANTIATE_TEST_SUITE_P(Cuts, Sharding,
                         testing::Values(Cut{"zero1", 1}, Cut{"zero1", 2}, Cut{"zero1", 3}, Cut{"zero1", 4},
                                         Cut{"zero1", 6}, Cut{"zero2", 1}, Cut{"zero2", 2}, Cut{"zero2", 3},
                                         Cut{"zero3", 1}, Cut{"zero3", 2}, Cut{"zero3", 3}, Cut{"zero3", 4},
                                         Cut{"hybrid", 4, 2}, Cut{"hybrid", 6, 2}, Cut{"hybrid", 4, 4}),
                         [](const auto& info) { return name_of(info.param); });

TEST_P(Sharding, GivesTheBitsOfReplicatedState) {
  for (const bool tied : {false, true}) {
    const auto change = [&](recipes::Recipe& recipe) { recipe.model.tie_word_embeddings = tied; };
    EXPECT_TRUE(weights_after(GetParam(), 5, change) == weights_after({"none", GetParam().world}, 5, change))
        << (tied ? "tied" : "untied");
  }
}

TEST_P(Sharding, GivesTheBitsOfReplicatedStateInBf16) {
  const auto change = [](recipes::Recipe& recipe) { recipe.model.precision = "bf16"; };
  EXPECT_TRUE(weights_after(GetParam(), 3, change) == weights_after({"none", GetParam().world}, 3, change));
}

TEST_P(Sharding, ResumesWithTheBitsOfAnUndisturbedRun) {
  const TemporaryFolder folder;
  const auto recipe = recipe_of(GetParam(), folder);
  train(recipe, folder.run(), GetParam().world, 2);
  train(recipe, folder.run(), GetParam().world, 5);
  EXPECT_TRUE(checkpoint_of(recipe, folder, 5) == weights_after(GetParam(), 5));
}

TEST_P(Sharding, GivesTheSameBitsWithoutOverlapAndWithActivationCheckpointing) {
  const auto plain = weights_after(GetParam(), 4);
  const auto change = [](recipes::Recipe& recipe) {
    recipe.parallel.overlap = false;
    recipe.parallel.activation_checkpointing = true;
  };
  EXPECT_TRUE(weights_after(GetParam(), 4, change) == plain);
}

TEST(ShardedStep, DegreeThatDoesNotFitIsRefusedBeforeTheFirstStep) {
  const TemporaryFolder folder;
  const auto recipe = recipe_of({"hybrid", 3, 2}, folder);
  EXPECT_THAT([&] { train(recipe, folder.run(), 3, 1); },
              testing::ThrowsMessage<Error>(HasSubstr(
                  "parallel.shard_degree = 2 does not divide the 3 workers; take one that does, or zero3")));
}

// Of four ranks two have two micro-batches and two have one; so one of theirs is empty.
TEST(ShardedPasses, RanksWithFewerMicroBatchesKeepUp) {
  const auto change = [](recipes::Recipe& recipe) { recipe.data.micro_batch_size = 1; };
  for (const bool tied : {false, true}) {
    const auto both = [&](recipes::Recipe& recipe) {
      change(recipe);
      recipe.model.tie_word_embeddings = tied;
    };
    const auto expected = weights_after({"none", 4}, 4, both);
    for (const Cut& cut : {Cut{"zero2", 4}, Cut{"zero3", 4}, Cut{"hybrid", 4, 2}}) {
      const auto found = weights_after(cut, 4, both);
      ASSERT_EQ(found.parameters.size(), expected.parameters.size());
      for (std::size_t i = 0; i < expected.parameters.size(); ++i)
        ASSERT_NEAR(found.parameters[i], expected.parameters[i], 2e-3) << name_of(cut) << " " << i;
    }
  }
}

TEST(ShardedStep, LostPeerIsAStatusInEverySharding) {
  for (const Cut& cut : {Cut{"zero1", 2}, Cut{"zero2", 2}, Cut{"zero3", 2}}) {
    const TemporaryFolder folder;
    const auto recipe = recipe_of(cut, folder);
    comm::MemoryNetwork network(2);
    const auto body = [&](int rank) {
      model::start_mathematics(1);
      comm::RingCommunicator communicator(network.transport(rank), 1, kTimeout);
      Engine engine(recipe, folder.run(), communicator, {});
      ASSERT_TRUE(engine.start());
      StepReport report;
      ASSERT_TRUE(engine.step(false, report));
      ASSERT_TRUE(engine.barrier());
      if (rank == 1) return network.kill(1);
      const auto status = engine.step(false, report);
      EXPECT_EQ(status.code, comm::Code::kPeerFailed) << cut.sharding;
      EXPECT_EQ(engine.current_step(), 1);
    };
    std::jthread other(body, 1);
    body(0);
  }
}

const std::vector<Cut> kCuts = {{"none", 1},  {"none", 3},  {"zero1", 2},    {"zero1", 3},
                                {"zero2", 2}, {"zero3", 3}, {"hybrid", 4, 2}};

TEST(ShardedCheckpoint, AnyCutLoadsAnyOthers) {
  for (const auto& writer : kCuts) {
    const TemporaryFolder folder;
    train(recipe_of(writer, folder), folder.run(), writer.world, 3);
    const auto written = checkpoint_of(recipe_of(writer, folder), folder, 3);
    for (const auto& reader : kCuts) {
      const TemporaryFolder copy;
      std::filesystem::copy(folder.path, copy.path, std::filesystem::copy_options::recursive);
      train(recipe_of(reader, copy), copy.run(), reader.world, 3);  // loads and saves
      EXPECT_TRUE(checkpoint_of(recipe_of(reader, copy), copy, 3) == written)
          << name_of(writer) << " read by " << name_of(reader);
    }
  }
}

TEST(ShardedCheckpoint, DamagedShardCostsAllRanksTheSameSteps) {
  const TemporaryFolder folder;
  const auto recipe = recipe_of({"zero1", 3}, folder);
  train(recipe, folder.run(), 3, 2);
  train(recipe, folder.run(), 3, 4);
  std::fstream file(folder.run().checkpoints() / "step-00000004" / "shard-00002-of-00003.safetensors",
                    std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-5, std::ios::end);
  file.put('\x55');
  file.close();
  in_world(3, [&](comm::Communicator& communicator) {
    Engine engine(recipe, folder.run(), communicator, {});
    ASSERT_TRUE(engine.start());
    EXPECT_EQ(engine.current_step(), 2);
    if (communicator.rank() != 0) return;
    EXPECT_THAT(engine.warnings(),
                testing::ElementsAre(HasSubstr("shard-00002-of-00003.safetensors is damaged")));
  });
}

}  // namespace
}  // namespace stint::engine
