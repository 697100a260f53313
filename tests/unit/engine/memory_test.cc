// SPDX-License-Identifier: Apache-2.0
// What a run takes of memory is what `stint recipe estimate` says. Each test is a process of its own.
#include "recipes/memory.h"

#include <gmock/gmock.h>

#include <fstream>

#include "world.h"

namespace stint::engine {
namespace {

constexpr int kWorld = 2;

// A line of /proc/self/status, in bytes.
std::int64_t status_of(const std::string& key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key + ":")) return std::stoll(line.substr(key.size() + 1)) << 10;
  return 0;
}

void step_twice(const recipes::Recipe& recipe, const RunDirectory& run) {
  in_world(kWorld, [&](comm::Communicator& communicator) {
    Engine engine(recipe, run, communicator, {});
    ASSERT_TRUE(engine.start());
    StepReport report;
    for (int i = 0; i < 2; ++i) ASSERT_TRUE(engine.step(false, report));
    ASSERT_TRUE(engine.barrier());
  });
}

struct Case {
  const char* sharding;
  const char* precision;
  bool checkpointing;
  std::int64_t micro_batch_size;
};

class MemoryUse : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Kinds, MemoryUse,
                         testing::Values(Case{"none", "fp32", false, 1}, Case{"none", "bf16", false, 4},
                                         Case{"zero2", "fp16", false, 2}, Case{"zero1", "bf16", true, 1},
                                         Case{"zero2", "fp32", false, 2}, Case{"zero3", "fp32", true, 4},
                                         Case{"zero3", "bf16", false, 1}),
                         [](const auto& info) {
                           return fmt::format("{}_{}{}_{}", info.param.sharding, info.param.precision,
                                              info.param.checkpointing ? "_checkpointing" : "",
                                              info.param.micro_batch_size);
                         });

TEST_P(MemoryUse, IsWithinATenthOfTheEstimate) {
  const TemporaryFolder folder;
  auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  recipe.parallel.sharding = GetParam().sharding;
  recipe.parallel.activation_checkpointing = GetParam().checkpointing;
  recipe.model.precision = GetParam().precision;
  recipe.checkpoint.interval = 0;               // else it counts what a checkpoint may take
  step_twice(recipe, {folder.path / "small"});  // the libraries' own memory
  recipe.model.vocab_size = 4096;
  recipe.model.hidden_size = 512;
  recipe.model.intermediate_size = 1408;
  recipe.model.num_hidden_layers = 4;
  recipe.model.num_attention_heads = 8;
  recipe.model.num_key_value_heads = 4;
  recipe.data.sequence_length = 256;
  recipe.data.micro_batch_size = GetParam().micro_batch_size;
  recipe.data.global_batch_size = kWorld * recipe.data.micro_batch_size;

  const std::int64_t before = status_of("VmRSS");
  std::ofstream("/proc/self/clear_refs") << 5;  // VmHWM starts anew
  step_twice(recipe, {folder.path / "large"});
  const double measured = static_cast<double>(status_of("VmHWM") - before) / kWorld;
  const auto estimate = recipes::memory(recipe, kWorld);
  const auto expected = static_cast<double>(estimate.total() - estimate.program);
  std::printf("measured %.1f MiB, estimated %.1f MiB\n", measured / (1 << 20), expected / (1 << 20));
  EXPECT_NEAR(measured / expected, 1, 0.1);
}

}  // namespace
}  // namespace stint::engine
