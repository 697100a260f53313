// SPDX-License-Identifier: Apache-2.0
// Engines whose devices work later than they are asked, and whose data goes over NCCL: on the stand-in for
// NCCL and CUDA, ranks as threads. No GPU.
#include <gmock/gmock.h>

#include <future>

#include "stream_device.h"
#include "trainer/engine/gpu.h"
#include "world.h"

namespace stint::engine {
namespace {

using comm::nccl_shim::reset;
using testing::AllOf;
using testing::HasSubstr;

std::shared_ptr<const comm::gpu::Libraries> libraries() {
  static const auto all =
      std::make_shared<const comm::gpu::Libraries>(comm::gpu::LibraryNames{NCCL_SHIM, NCCL_SHIM, NCCL_SHIM});
  return all;
}

// One rank with a GPU of its own.
class Gpu {
 public:
  Gpu(const recipes::Recipe& recipe, const RunDirectory& run, comm::Communicator& control)
      : device_(libraries()->cuda, control.rank()),
        engine_(recipe, run, control, {}, device_, path_of(recipe, control)) {}
  Engine& engine() { return engine_; }

 private:
  std::unique_ptr<DataPath> path_of(const recipes::Recipe& recipe, comm::Communicator& control) {
    std::unique_ptr<DataPath> path;
    const auto status =
        connect_gpus(control, recipe, device_, {{NCCL_SHIM, NCCL_SHIM, NCCL_SHIM}, control.rank(), {}}, path);
    EXPECT_TRUE(status) << status.detail;
    return path;
  }

  StreamDevice device_;
  Engine engine_;
};

// As train(), with a checkpoint begun after each second step.
std::vector<Bits> train_on_gpus(const recipes::Recipe& recipe, const RunDirectory& run, int size,
                                std::int64_t until, std::vector<double>* losses = nullptr) {
  std::vector<Bits> result(static_cast<std::size_t>(size));
  in_world(size, [&](comm::Communicator& control) {
    Gpu gpu(recipe, run, control);
    Engine& engine = gpu.engine();
    ASSERT_TRUE(engine.start());
    while (engine.current_step() < until) {
      StepReport report;
      const auto status = engine.step(false, report);
      ASSERT_TRUE(status) << status.detail;
      if (losses != nullptr && control.rank() == 0) losses->push_back(report.loss);
      if (report.step % 2 == 0) {
        ASSERT_TRUE(engine.begin_save());
      }
    }
    save(engine);
    ASSERT_TRUE(engine.barrier());
    result[static_cast<std::size_t>(control.rank())] = bits_of(engine.state());
  });
  return result;
}

struct Cut {
  const char* sharding;
  int world;
  int degree;
  const char* precision;
  std::int64_t micro = 2;
};

recipes::Recipe recipe_of(const Cut& cut, const TemporaryFolder& folder) {
  auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  recipe.parallel.sharding = cut.sharding;
  recipe.parallel.shard_degree = cut.degree;
  recipe.model.precision = cut.precision;
  recipe.data.micro_batch_size = cut.micro;
  recipe.optim.grad_clip = 0.1;
  return recipe;
}

class OnTheStandIn {
 protected:
  OnTheStandIn() { reset(); }
  ~OnTheStandIn() { reset(); }
};

class OverNccl : public OnTheStandIn, public testing::TestWithParam<Cut> {};
INSTANTIATE_TEST_SUITE_P(Cuts, OverNccl,
                         testing::Values(Cut{"none", 2, 0, "fp32"}, Cut{"none", 3, 0, "bf16", 1},
                                         Cut{"zero1", 2, 0, "bf16"}, Cut{"zero1", 3, 0, "fp32"},
                                         Cut{"zero2", 2, 0, "fp32", 1}, Cut{"zero2", 3, 0, "bf16", 1},
                                         Cut{"zero3", 2, 0, "fp32", 1}, Cut{"zero3", 3, 0, "bf16"},
                                         Cut{"hybrid", 4, 2, "fp32", 1}, Cut{"hybrid", 4, 2, "bf16"}),
                         [](const auto& info) {
                           return fmt::format("{}_{}_{}", info.param.sharding, info.param.world,
                                              info.param.precision);
                         });

TEST_P(OverNccl, EveryBitIsThatOfCpusOverMessages) {
  const TemporaryFolder near, far;
  const auto recipe = recipe_of(GetParam(), near);
  std::vector<double> expected_losses, losses;
  const auto expected = train(recipe, near.run(), GetParam().world, 5, &expected_losses);
  const auto found = train_on_gpus(recipe, far.run(), GetParam().world, 5, &losses);
  EXPECT_EQ(losses, expected_losses);
  EXPECT_TRUE(found == expected);
}

TEST_P(OverNccl, GoesOnFromACheckpointWrittenBesideTraining) {
  const TemporaryFolder whole, parts;
  const auto recipe = recipe_of(GetParam(), whole);
  const auto undisturbed = train(recipe, whole.run(), GetParam().world, 5);
  train_on_gpus(recipe, parts.run(), GetParam().world, 3);
  EXPECT_TRUE(train_on_gpus(recipe, parts.run(), GetParam().world, 5) == undisturbed);
}

TEST_P(OverNccl, GivesTheSameBitsWithoutOverlap) {
  const TemporaryFolder near, far;
  auto recipe = recipe_of(GetParam(), near);
  const auto expected = train(recipe, near.run(), GetParam().world, 3);
  recipe.parallel.overlap = false;
  EXPECT_TRUE(train_on_gpus(recipe, far.run(), GetParam().world, 3) == expected);
}

class NcclEngine : public OnTheStandIn, public testing::Test {};

TEST_F(NcclEngine, EveryCallMayStayInProgress) {
  comm::nccl_shim::stay_in_progress(2);
  const TemporaryFolder near, far;
  const auto recipe = recipe_of({"zero3", 2, 0, "fp32", 1}, near);
  EXPECT_TRUE(train_on_gpus(recipe, far.run(), 2, 3) == train(recipe, near.run(), 2, 3));
}

// The first step of two ranks after what `breaks` does; what rank 0's says.
comm::Status broken_step(const Cut& cut, const std::function<void()>& breaks) {
  const TemporaryFolder folder;
  auto recipe = recipe_of(cut, folder);
  recipe.resilience.collective_timeout = std::chrono::seconds(1);
  comm::Status result;
  in_world(2, [&](comm::Communicator& control) {
    Gpu gpu(recipe, folder.run(), control);
    ASSERT_TRUE(gpu.engine().start());
    ASSERT_TRUE(gpu.engine().barrier());
    if (control.rank() == 0) breaks();
    ASSERT_TRUE(control.barrier());
    StepReport report;
    const auto status = gpu.engine().step(false, report);
    EXPECT_FALSE(status);
    EXPECT_EQ(gpu.engine().current_step(), 0) << "an update was made of what did not come";
    if (control.rank() == 0) result = status;
  });
  return result;
}

TEST_F(NcclEngine, AnErrorOfTheNetworkIsAStatusAndNoUpdate) {
  for (const char* sharding : {"none", "zero2", "zero3"}) {
    reset();
    const auto status = broken_step({sharding, 2, 0, "fp32", 1}, [] {
      comm::nccl_shim::report(0, 2, comm::gpu::NcclResult::kRemoteError, false);
    });
    EXPECT_EQ(status.peer, 1) << sharding;
    EXPECT_THAT(status.detail, HasSubstr("network")) << sharding;
  }
}

TEST_F(NcclEngine, ACollectiveThatNeverEndsIsATimeOut) {
  for (const char* sharding : {"none", "zero3"}) {
    reset();
    const auto status = broken_step({sharding, 2, 0, "fp32", 1}, [] { comm::nccl_shim::hang(0, 1); });
    EXPECT_EQ(status.code, comm::Code::kTimeout) << sharding << " " << status.detail;
  }
}

// What each of two ranks, the second one with other options, says.
std::vector<std::string> refusals(const GpuOptions& second) {
  const TemporaryFolder folder;
  const auto recipe = recipe_of({"none", 2, 0, "fp32"}, folder);
  std::vector<std::string> texts(2);
  in_world(2, [&](comm::Communicator& control) {
    GpuOptions options{{NCCL_SHIM, NCCL_SHIM, NCCL_SHIM}, control.rank(), {}};
    if (control.rank() == 1) options = second;
    std::unique_ptr<DataPath> path;
    try {
      (void)connect_gpus(control, recipe, model::cpu(), options, path);
    } catch (const Error& error) {
      const bool is_final = dynamic_cast<const FinalError*>(&error) != nullptr;
      texts[static_cast<std::size_t>(control.rank())] =
          (is_final ? "final: " : "") + std::string(error.what());
    }
  });
  return texts;
}

TEST_F(NcclEngine, WhatOneRankLacksAllSay) {
  EXPECT_THAT(refusals({{"libnccl.of.nobody", NCCL_SHIM, NCCL_SHIM}, 1, {}}),
              testing::Each(
                  AllOf(HasSubstr("final: gpu: cannot load libnccl.of.nobody"), HasSubstr("install NCCL"))));
  EXPECT_THAT(refusals({{NCCL_SHIM, NCCL_SHIM, "libstint_gpu.of.nobody"}, 1, {}}),
              testing::Each(AllOf(HasSubstr("final: gpu: cannot load libstint_gpu.of.nobody"),
                                  HasSubstr("build Stint with nvcc"))));
  EXPECT_THAT(refusals({{NCCL_SHIM, NCCL_SHIM, NCCL_SHIM}, 99, {}}),
              testing::Each(testing::StartsWith("gpu: there is no GPU 99, this process sees 64")));
}

std::vector<float> copied(Snapshot::Part part) {
  return {part.begin(), part.end()};
}

TEST_F(NcclEngine, ASnapshotIsOfWhatTheDeviceWasAskedForBeforeIt) {
  StreamDevice device(libraries()->cuda, 0);
  auto* const stream = static_cast<comm::gpu::CudaStream*>(device.stream());
  Buffer memory(100, device);
  const std::vector<float> ones(100, 1);
  comm::nccl_shim::close_gate(stream);
  device.put(memory.span().data(), ones.data(), memory.span().size_bytes());
  Snapshot snapshot({memory.span()}, 0, device);
  auto read = std::async(std::launch::async, [&] {
    snapshot.begin_reading();
    return copied(snapshot.read(memory.span()));
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  comm::nccl_shim::open_gate(stream);
  EXPECT_EQ(read.get(), ones);
}

TEST_F(NcclEngine, WhatASnapshotKeptIsReadOnceTheDeviceHasCopiedIt) {
  StreamDevice device(libraries()->cuda, 0);
  auto* const stream = static_cast<comm::gpu::CudaStream*>(device.stream());
  Buffer memory(100, device);
  const std::vector<float> ones(100, 1);
  device.put(memory.span().data(), ones.data(), memory.span().size_bytes());
  Snapshot snapshot({memory.span()}, 100, device);
  std::promise<void> aside, kept;
  auto read = std::async(std::launch::async, [&] {
    snapshot.begin_reading();
    float first = 0;
    device.get(&first, memory.span().data(), sizeof first);  // its stream is awake
    aside.set_value();
    kept.get_future().wait();
    return copied(snapshot.read(memory.span()));
  });
  aside.get_future().wait();
  comm::nccl_shim::close_gate(stream);
  snapshot.keep(memory.span());
  device.clear(memory.span().data(), memory.span().size_bytes());
  kept.set_value();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  comm::nccl_shim::open_gate(stream);
  EXPECT_EQ(read.get(), ones);
}

}  // namespace
}  // namespace stint::engine
