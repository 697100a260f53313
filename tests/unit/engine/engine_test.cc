// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trainer/comm/shm.h"
#include "world.h"

namespace stint::engine {
namespace {

using comm::MemoryNetwork;
using comm::RingCommunicator;
using testing::HasSubstr;

struct Kind {
  const char* precision;
  bool tied;
  int world;
};

class Resume : public testing::TestWithParam<Kind> {};

INSTANTIATE_TEST_SUITE_P(Kinds, Resume,
                         testing::Values(Kind{"fp32", false, 1}, Kind{"fp32", true, 2},
                                         Kind{"fp32", false, 3}, Kind{"bf16", true, 1},
                                         Kind{"bf16", false, 2}),
                         [](const auto& info) {
                           return fmt::format("{}{}{}", info.param.precision,
                                              info.param.tied ? "Tied" : "Untied", info.param.world);
                         });

TEST_P(Resume, GivesTheBitsOfAnUndisturbedRun) {
  const TemporaryFolder whole, parts;
  auto recipe = tiny_recipe(write_text(whole.path / "text", sample_text()));
  recipe.model.precision = GetParam().precision;
  recipe.model.tie_word_embeddings = GetParam().tied;
  const auto undisturbed = train(recipe, whole.run(), GetParam().world, 9);
  train(recipe, parts.run(), GetParam().world, 4);
  train(recipe, parts.run(), GetParam().world, 5);
  const auto resumed = train(recipe, parts.run(), GetParam().world, 9);
  EXPECT_EQ(undisturbed[0].step, 9);
  for (std::size_t rank = 0; rank < resumed.size(); ++rank) {
    EXPECT_TRUE(resumed[rank] == undisturbed[rank]) << "rank " << rank;
    EXPECT_TRUE(resumed[rank] == resumed[0]) << "replicas differ on rank " << rank;
  }
}

TEST(Engine, LossFalls) {
  const TemporaryFolder folder;
  auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  recipe.run.steps = 40;
  std::vector<double> losses;
  train(recipe, folder.run(), 1, 40, &losses);
  EXPECT_NEAR(losses.front(), std::log(256.0), 0.3);
  EXPECT_LT(losses.back(), losses.front() - 1.5);
}

TEST(Engine, AnyWorldSizeTrainsOnTheSameGlobalBatch) {
  const TemporaryFolder folder;
  const auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  std::vector<std::vector<double>> losses;
  for (const int size : {1, 2, 4, 6}) {
    const TemporaryFolder run;
    train(recipe, run.run(), size, 6, &losses.emplace_back());
  }
  for (const auto& other : losses)
    for (std::size_t i = 0; i < 6; ++i) EXPECT_NEAR(other[i], losses[0][i], 1e-4) << i;
}

TEST(Engine, MicroBatchesOfAnySizeAccumulateTheSameGradient) {
  const TemporaryFolder folder;
  auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  std::vector<std::vector<double>> losses;
  for (const int micro : {6, 4, 3, 1}) {
    const TemporaryFolder run;
    recipe.data.micro_batch_size = micro;
    train(recipe, run.run(), 1, 6, &losses.emplace_back());
  }
  for (const auto& other : losses)
    for (std::size_t i = 0; i < 6; ++i) EXPECT_NEAR(other[i], losses[0][i], 1e-4) << i;
}

TEST(Engine, MoreWorkersThanSlotsIsRefused) {
  const TemporaryFolder folder;
  const auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  EXPECT_THAT([&] { train(recipe, folder.run(), 7, 1); },
              testing::ThrowsMessage<Error>(HasSubstr("global_batch_size = 6 is less than the 7 workers")));
}

TEST(Engine, TrainsInPlaceInSharedMemoryWithTheSameBits) {
  const TemporaryFolder folder, shared;
  const auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  const auto over_messages = train(recipe, folder.run(), 3, 5);
  const auto segment = comm::ShmSegment::create({3, 1, Engine::shared_bytes(recipe)});
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < 3; ++rank)
    threads.emplace_back([&, rank] {
      model::start_mathematics(1);
      comm::ShmCommunicator communicator(comm::ShmSegment::adopt(dup(segment.descriptor())),
                                         comm::whole_view(1, rank, 3), kTimeout);
      Engine engine(recipe, shared.run(), communicator, {});
      const auto* parameters = reinterpret_cast<const std::byte*>(engine.state().parameters.span().data());
      EXPECT_EQ(parameters, communicator.memory().data());
      ASSERT_TRUE(engine.start());
      StepReport report;
      while (engine.current_step() < 5) ASSERT_TRUE(engine.step(false, report));
      EXPECT_TRUE(bits_of(engine.state()) == over_messages[static_cast<std::size_t>(rank)]);
    });
}

TEST(Engine, OneRanksWishToStopIsSeenByAllAtTheSameStep) {
  const TemporaryFolder folder;
  const auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  in_world(3, [&](comm::Communicator& communicator) {
    Engine engine(recipe, folder.run(), communicator, {});
    ASSERT_TRUE(engine.start());
    for (int i = 1; i <= 4; ++i) {
      StepReport report;
      ASSERT_TRUE(engine.step(communicator.rank() == 2 && i == 3, report));
      EXPECT_EQ(report.stop, i == 3);
    }
  });
}

TEST(Engine, DamagedCheckpointCostsTheStepsSinceTheOneBeforeAndNoBits) {
  const TemporaryFolder whole, folder;
  const auto recipe = tiny_recipe(write_text(whole.path / "text", sample_text()));
  const auto undisturbed = train(recipe, whole.run(), 2, 8);
  train(recipe, folder.run(), 2, 3);
  train(recipe, folder.run(), 2, 6);
  std::filesystem::resize_file(folder.run().checkpoints() / "step-00000006" / "model.safetensors", 5000);
  in_world(2, [&](comm::Communicator& communicator) {
    Engine engine(recipe, folder.run(), communicator, {});
    ASSERT_TRUE(engine.start());
    EXPECT_EQ(engine.current_step(), 3);
    EXPECT_EQ(engine.warnings().size(), communicator.rank() == 0 ? 1U : 0U);
  });
  EXPECT_TRUE(train(recipe, folder.run(), 2, 8)[1] == undisturbed[1]);
}

TEST(Engine, CheckpointsOfAnotherModelAreAnErrorOnEveryRankNotAFreshStart) {
  const TemporaryFolder folder;
  auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  train(recipe, folder.run(), 1, 2);
  recipe.model.intermediate_size = 64;
  std::array<std::string, 2> messages;
  in_world(2, [&](comm::Communicator& communicator) {
    Engine engine(recipe, folder.run(), communicator, {});
    try {
      (void)engine.start();
    } catch (const Error& error) {
      messages[static_cast<std::size_t>(communicator.rank())] = error.what();
    }
  });
  for (const auto& message : messages) {
    EXPECT_THAT(message, HasSubstr("step-00000002"));
    EXPECT_THAT(message, HasSubstr("it has intermediate_size 48, the recipe's is 64"));
  }
}

TEST(Engine, DataOfAnotherSizeIsSaidAtResume) {
  const TemporaryFolder folder;
  const auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  train(recipe, folder.run(), 1, 2);
  write_text(folder.path / "text", sample_text() + "more");
  in_world(1, [&](comm::Communicator& communicator) {
    Engine engine(recipe, folder.run(), communicator, {});
    ASSERT_TRUE(engine.start());
    EXPECT_EQ(engine.current_step(), 2);
    EXPECT_THAT(engine.warnings(), testing::ElementsAre(HasSubstr("other batches")));
  });
}

TEST(Engine, LossThatIsNotFiniteEndsTheRunBeforeTheUpdate) {
  const TemporaryFolder folder;
  auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  recipe.optim.learning_rate = 1e30;
  recipe.optim.warmup_steps = 0;
  recipe.optim.grad_clip = 0;
  EXPECT_THAT([&] { train(recipe, folder.run(), 1, 12); },
              testing::ThrowsMessage<FinalError>(HasSubstr("not finite; lower optim.learning_rate")));
}

TEST(Engine, ManifestSaysWhatMadeTheCheckpoint) {
  const TemporaryFolder folder;
  const auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  in_world(1, [&](comm::Communicator& communicator) {
    Engine engine(recipe, folder.run(), communicator, {{"threads", 1}, {"blas", {{"kernel", "Zen"}}}});
    ASSERT_TRUE(engine.start());
    StepReport report;
    ASSERT_TRUE(engine.step(false, report));
    const auto saved = save(engine);
    std::ifstream file(saved.folder / "manifest.json");
    const auto manifest = nlohmann::json::parse(file);
    EXPECT_EQ(manifest.at("step"), 1);
    EXPECT_EQ(manifest.at("tokens"), 6 * 32);
    EXPECT_EQ(manifest.at("loss"), report.loss);
    EXPECT_EQ(manifest.at("blas").at("kernel"), "Zen");
    EXPECT_EQ(manifest.at("world_size"), 1);
    EXPECT_EQ(manifest.at("recipe").at("hash").get<std::string>().size(), 8);
  });
}

TEST(Engine, LostPeerIsAStatusAtTheNextStep) {
  const TemporaryFolder folder;
  const auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  MemoryNetwork network(2);
  const auto body = [&](int rank) {
    model::start_mathematics(1);
    RingCommunicator communicator(network.transport(rank), 1, kTimeout);
    Engine engine(recipe, folder.run(), communicator, {});
    ASSERT_TRUE(engine.start());
    StepReport report;
    ASSERT_TRUE(engine.step(false, report));
    if (rank == 1) return network.kill(1);
    const auto status = engine.step(false, report);
    EXPECT_EQ(status.code, comm::Code::kPeerFailed);
    EXPECT_EQ(engine.current_step(), 1);
  };
  std::jthread other(body, 1);
  body(0);
}

}  // namespace
}  // namespace stint::engine
