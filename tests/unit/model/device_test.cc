// SPDX-License-Identifier: Apache-2.0
// The model on a device of its own, beside the model on the CPU.
#include "trainer/model/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/final_error.h"
#include "far_device.h"
#include "trainer/model/aten.h"
#include "trainer/model/llama.h"
#include "trainer/model/random.h"

namespace stint::model {
namespace {

// Memory of a device, zeroed.
class Block {
 public:
  Block(Device& device, std::size_t bytes) : device_(device), bytes_(bytes), memory_(device.allocate(bytes)) {
    device.clear(memory_, bytes);
  }
  ~Block() { device_.release(memory_, bytes_); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  void* get() const { return memory_; }

 private:
  Device& device_;
  std::size_t bytes_;
  void* memory_;
};

struct Result {
  double loss = 0, alone = 0;
  std::vector<float> gradients;
};

// Two passes of two sequences each, whose derivatives add up.
Result run(Device& device, const Config& config, bool checkpointing) {
  const Layout layout(config);
  const std::size_t count = layout.floats();
  const Operand operand = operand_of(config, device);
  std::vector<float> start(count);
  initialize(config, layout, 3, start);
  const Block floats(device, count * sizeof(float)), parameters(device, count * bytes_of(operand)),
      gradients(device, count * sizeof(float));
  device.put(floats.get(), start.data(), count * sizeof(float));
  device.kernels(operand).to_operand(static_cast<float*>(floats.get()), static_cast<std::int64_t>(count),
                                     parameters.get());
  FlatStorage storage(layout, operand, parameters.get(), {static_cast<float*>(gradients.get()), count});
  Llama model(config, layout, storage, checkpointing, device);
  Result result;
  for (std::uint64_t pass = 0; pass < 2; ++pass) {
    std::vector<std::int64_t> tokens(2 * 38);
    for (std::size_t i = 0; i < tokens.size(); ++i)
      tokens[i] =
          static_cast<std::int64_t>(random_below(pass, i, static_cast<std::uint64_t>(config.vocab_size)));
    result.loss += model.forward_backward(tokens, 2, 1.0 / 74);
    result.alone += model.forward(tokens, 2, 1.0 / 74);
  }
  result.gradients.resize(count);
  device.get(result.gradients.data(), gradients.get(), count * sizeof(float));
  return result;
}

struct Case {
  bool bf16, tied, checkpointing;
};

class OnADevice : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Models, OnADevice,
                         testing::Values(Case{false, false, false}, Case{false, true, true},
                                         Case{true, false, true}, Case{true, true, false}));

TEST_P(OnADevice, TheHostTouchesNoMemoryOfItAndLossAndGradientsAreTheCpus) {
  start_mathematics(1);
  Config config;
  config.vocab_size = 300;
  config.hidden_size = 48;
  config.intermediate_size = 56;
  config.layers = 3;
  config.heads = 6;
  config.key_value_heads = 2;
  config.rope_theta = 1000;
  config.rms_norm_eps = 1e-5;
  config.initializer_range = 0.2;
  config.tied = GetParam().tied;
  config.bf16 = GetParam().bf16;
  const Result expected = run(cpu(), config, GetParam().checkpointing),
               found = run(far_device(), config, GetParam().checkpointing);
  const double tolerance = config.bf16 ? 0.08 : 1e-5;  // 0.054 found, of two ways to round
  EXPECT_NEAR(found.loss, expected.loss, tolerance * expected.loss);
  EXPECT_NEAR(found.alone, found.loss, 1e-6 * found.loss);
  const Layout layout(config);
  for (const auto& p : layout.parameters()) {
    float largest = 0, difference = 0;
    for (std::size_t i = p.offset; i < p.offset + p.count; ++i) {
      largest = std::max(largest, std::abs(expected.gradients[i]));
      difference = std::max(difference, std::abs(expected.gradients[i] - found.gradients[i]));
    }
    EXPECT_GT(largest, 0) << p.name;
    EXPECT_LE(difference, tolerance * largest) << p.name;
  }
}

TEST(FarDeviceDeathTest, IsClosedToTheHost) {
  const Block block(far_device(), 64);
  EXPECT_DEATH(*static_cast<volatile char*>(block.get()) = 1, "");
}

TEST(Device, AskedForAGpuWithoutOneSaysWhatToDo) {
  try {
    aten::make_device(true)->allocate(1);
    GTEST_SKIP() << "there is a GPU";
  } catch (const DeviceFailure& failure) {
    EXPECT_THAT(failure.what(), testing::AnyOf(testing::HasSubstr("STINT_TORCH"), testing::HasSubstr("GPU")));
  }
}

TEST(Device, WhatItSaysOfMemoryIsFinal) {
  EXPECT_THROW(explain(DeviceFailure("CUDA out of memory. Tried to allocate 20 GiB")), FinalError);
  try {
    explain(DeviceFailure("size mismatch"));
  } catch (const FinalError&) {
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "model: size mismatch");
  }
}

}  // namespace
}  // namespace stint::model
