// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/speed.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "trainer/engine/buffer.h"

namespace stint::engine {
namespace {

constexpr double kWidth = 768;  // of one thread's product; wider ones are hardly faster
constexpr std::int64_t kGpuWidth = 4096;
constexpr int kProducts = 5;  // the first one warms up

}  // namespace

double product_speed(model::Device& device, model::Operand operand, int threads) try {
  const auto width = device.is_host() ? 64 * std::llround(kWidth / 64 * std::cbrt(threads))  // of equal time
                                      : kGpuWidth;
  Buffer memory(static_cast<std::size_t>(3 * width * width), device);
  const auto part = [&](std::int64_t index) {
    return model::Matrix{&memory.span()[static_cast<std::size_t>(index * width * width)], width, width};
  };
  double best = 0;
  for (int i = 0; i < kProducts; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    device.multiply(operand, part(0), part(1).transposed(), part(2));
    float done = 0;
    device.get(&done, part(2).data, sizeof done);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    if (i > 0) best = std::max(best, 2 * std::pow(static_cast<double>(width), 3) / seconds.count());
  }
  return best;
} catch (const model::DeviceFailure& failure) {
  model::explain(failure);
}

}  // namespace stint::engine
