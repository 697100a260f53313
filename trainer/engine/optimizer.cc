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

constexpr std::size_t kChunk = 1 << 16;  // floats a thread takes at once
constexpr std::size_t kLanes = 16;

std::size_t chunks(std::size_t count) {
  return (count + kChunk - 1) / kChunk;
}

STINT_VECTOR_CLONES double sum_of_squares(const float* values, std::size_t count) {
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

STINT_VECTOR_CLONES void update_chunk(const Scalars& s, std::size_t count, float* __restrict p,
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

struct Piece {
  std::size_t begin, end;
  bool decays;
};

// Chunks of at most kChunk floats that never cross from decayed to undecayed parameters.
std::vector<Piece> pieces(const model::Layout& layout) {
  std::vector<Piece> result;
  for (const auto& p : layout.parameters())
    for (std::size_t at = p.offset, end = p.offset + p.count; at < end; at += kChunk)
      result.push_back({at, std::min(at + kChunk, end), p.decays});
  return result;
}

}  // namespace

double gradient_norm(std::span<const float> values) {
  std::vector<double> sums(chunks(values.size()));
#pragma omp parallel for schedule(static)
  for (std::size_t i = 0; i < sums.size(); ++i)
    sums[i] = sum_of_squares(values.data() + i * kChunk, std::min(kChunk, values.size() - i * kChunk));
  double sum = 0;
  for (double part : sums) sum += part;
  return std::sqrt(sum);
}

double clip_factor(double norm, double limit) {
  return limit > 0 && norm > limit ? limit / norm : 1.0;
}

void adamw_update(const AdamW& a, const model::Layout& layout, double learning_rate, double factor,
                  std::int64_t update, std::span<float> parameters, std::span<const float> gradients,
                  std::span<float> exp_avg, std::span<float> exp_avg_sq) {
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
  const auto work = pieces(layout);
#pragma omp parallel for schedule(static)
  for (std::size_t i = 0; i < work.size(); ++i) {
    const auto [begin, end, decays] = work[i];
    update_chunk(decays ? decayed : plain, end - begin, parameters.data() + begin, gradients.data() + begin,
                 exp_avg.data() + begin, exp_avg_sq.data() + begin);
  }
}

double learning_rate(const recipes::Recipe& recipe, std::int64_t index) {
  const auto& o = recipe.optim;
  if (index < o.warmup_steps)
    return o.learning_rate * static_cast<double>(index + 1) / static_cast<double>(o.warmup_steps);
  const auto length = std::max<std::int64_t>(1, recipe.run.steps - o.warmup_steps);
  const double progress =
      std::min(1.0, static_cast<double>(index - o.warmup_steps) / static_cast<double>(length));
  return o.min_learning_rate +
         (o.learning_rate - o.min_learning_rate) * 0.5 * (1 + std::cos(std::numbers::pi * progress));
}

}  // namespace stint::engine
