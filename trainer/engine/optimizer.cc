// SPDX-License-Identifier: Apache-2.0
// Compiled with -ffp-contract=off: without fused multiply-add every clone below rounds alike, so nodes with
// different vector units keep equal replicas.
#include "trainer/engine/optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <vector>

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define STINT_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define STINT_VECTOR_CLONES
#endif

namespace stint::engine {
namespace {

constexpr std::size_t kLanes = 16;

STINT_VECTOR_CLONES double add_squares(const float* values, std::size_t count) {
  std::array<double, kLanes> lanes{};
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const double value = values[i + lane];
      lanes[lane] += value * value;
    }
  for (; i < count; ++i) lanes[i % kLanes] += static_cast<double>(values[i]) * values[i];
  double sum = 0;
  for (double lane : lanes) sum += lane;
  return sum;
}

struct Scalars {
  float keep, factor, beta1, rest1, beta2, rest2, rate, correction2, eps;
};

STINT_VECTOR_CLONES void update_slice(const Scalars& s, std::size_t count, float* __restrict p,
                                      const float* __restrict gradient, float* __restrict m,
                                      float* __restrict v) {
  const Scalars c = s;
  for (std::size_t i = 0; i < count; ++i) {
    const float g = gradient[i] * c.factor;
    m[i] = c.beta1 * m[i] + c.rest1 * g;
    v[i] = c.beta2 * v[i] + c.rest2 * g * g;
    p[i] = p[i] * c.keep - c.rate * m[i] / (std::sqrt(v[i]) * c.correction2 + c.eps);
  }
}

}  // namespace

double sum_of_squares(std::span<const float> values) {
  std::vector<double> sums((values.size() + kSlice - 1) / kSlice);
#pragma omp parallel for schedule(static)
  for (std::size_t i = 0; i < sums.size(); ++i)
    sums[i] = add_squares(values.data() + i * kSlice, std::min(kSlice, values.size() - i * kSlice));
  double sum = 0;
  for (double part : sums) sum += part;
  return sum;
}

double clip_factor(double norm, double limit) {
  return limit > 0 && norm > limit ? limit / norm : 1.0;
}

void adamw_update(const AdamW& a, double learning_rate, double factor, std::int64_t update,
                  std::span<const Slice> slices, Round round,
                  const std::function<void(const Slice&)>& before) {
  const auto t = static_cast<double>(update);
  const auto f = [](double value) { return static_cast<float>(value); };
  const Scalars plain{1.0f,
                      f(factor),
                      f(a.beta1),
                      f(1 - a.beta1),
                      f(a.beta2),
                      f(1 - a.beta2),
                      f(learning_rate / (1 - std::pow(a.beta1, t))),
                      f(1 / std::sqrt(1 - std::pow(a.beta2, t))),
                      f(a.eps)};
  Scalars decayed = plain;
  decayed.keep = f(1 - learning_rate * a.weight_decay);
#pragma omp parallel for schedule(static)
  for (const Slice& slice : slices) {
    if (before) before(slice);
    update_slice(slice.decays ? decayed : plain, slice.count, slice.parameters, slice.gradients,
                 slice.exp_avg, slice.exp_avg_sq);
    if (slice.operands != nullptr)
      round(slice.parameters, static_cast<std::int64_t>(slice.count), slice.operands);
  }
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
