// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace stint::engine {
namespace {

std::size_t tiles_of(std::span<const float> part) {
  constexpr auto kTile = static_cast<std::size_t>(model::kSumTile);
  return (part.size() + kTile - 1) / kTile;
}

std::size_t tiles_of(const std::vector<std::span<const float>>& parts) {
  std::size_t tiles = 0;
  for (const auto& part : parts) tiles += tiles_of(part);
  return tiles;
}

}  // namespace

SquareSum::SquareSum(std::vector<std::span<const float>> parts, model::Device& device)
    : parts_(std::move(parts)),
      device_(device),
      sums_(tiles_of(parts_) * sizeof(double) / sizeof(float), device),
      host_sums_(tiles_of(parts_)) {}

double SquareSum::take() {
  const model::Kernels& ops = device_.kernels(model::Operand::kFloat);
  auto* at = reinterpret_cast<double*>(sums_.span().data());
  for (const auto& part : parts_) {
    if (part.empty()) continue;
    ops.sums_of_squares(part.data(), static_cast<std::int64_t>(part.size()), at);
    at += tiles_of(part);
  }
  device_.get(host_sums_.data(), sums_.span().data(), host_sums_.size() * sizeof(double));
  double sum = 0;
  auto tile = host_sums_.begin();
  for (const auto& part : parts_) {
    const auto end = tile + static_cast<std::ptrdiff_t>(tiles_of(part));
    sum += std::accumulate(tile, end, 0.0);
    tile = end;
  }
  return sum;
}

double clip_factor(double norm, double limit) {
  return limit > 0 && norm > limit ? limit / norm : 1.0;
}

void adamw_update(const AdamW& a, double learning_rate, double factor, std::int64_t update,
                  std::span<const Slice> slices, model::Device& device, model::Operand operand,
                  const std::function<void(const Slice&)>& before) {
  const auto t = static_cast<double>(update);
  const auto f = [](double value) { return static_cast<float>(value); };
  const model::AdamWScalars plain{1.0f,
                                  f(factor),
                                  f(a.beta1),
                                  f(1 - a.beta1),
                                  f(a.beta2),
                                  f(1 - a.beta2),
                                  f(learning_rate / (1 - std::pow(a.beta1, t))),
                                  f(1 / std::sqrt(1 - std::pow(a.beta2, t))),
                                  f(a.eps)};
  model::AdamWScalars decayed = plain;
  decayed.keep = f(1 - learning_rate * a.weight_decay);
  const model::Kernels& ops = device.kernels(operand);
  const auto change = [&](const Slice& slice) {
    if (before) before(slice);
    ops.adamw(slice.decays ? decayed : plain, static_cast<std::int64_t>(slice.count), slice.parameters,
              slice.gradients, slice.exp_avg, slice.exp_avg_sq, slice.operands);
  };
  if (!device.is_host()) {  // which may throw
    std::ranges::for_each(slices, change);
    return;
  }
#pragma omp parallel for schedule(static)
  for (const Slice& slice : slices) change(slice);
}

double learning_rate(const recipes::Recipe& recipe, std::int64_t index) {
  const auto& o = recipe.optim;
  const double peak = o.learning_rate, fall = peak - o.min_learning_rate;
  if (index < o.warmup_steps)
    return peak * static_cast<double>(index + 1) / static_cast<double>(o.warmup_steps);
  const bool waits = o.schedule == "warmup_stable_decay";
  const std::int64_t begin = waits ? recipe.run.steps - o.decay_steps : o.warmup_steps;
  const auto length = std::max<std::int64_t>(1, recipe.run.steps - begin);
  const double progress =
      std::clamp(static_cast<double>(index - begin) / static_cast<double>(length), 0.0, 1.0);
  if (o.schedule == "constant") return peak;
  if (o.schedule == "cosine")
    return o.min_learning_rate + fall * 0.5 * (1 + std::cos(std::numbers::pi * progress));
  return peak - fall * progress;
}

}  // namespace stint::engine
