// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/kernels/values.h"

namespace stint::model::STINT_KERNELS {
namespace {

constexpr std::int64_t kChunk = 1 << 16;  // elements a thread takes at once

double sum_of_squares(const float* values, std::int64_t count) {
  double lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const double value = static_cast<double>(values[i + lane]);
      lanes[lane] += value * value;
    }
  for (std::int64_t lane = 0, rest = count - i; lane < rest; ++lane)
    lanes[lane] += static_cast<double>(values[i + lane]) * static_cast<double>(values[i + lane]);
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

void sums_of_squares(const float* values, std::int64_t count, double* sums) {
#pragma omp parallel for schedule(static)
  for (std::int64_t begin = 0; begin < count; begin += kSumTile)
    sums[begin / kSumTile] = sum_of_squares(values + begin, smaller(kSumTile, count - begin));
}

// While what was computed is in the cache.
template <typename T>
void round_to(const float* from, std::int64_t count, T* to) {
  for (std::int64_t i = 0; i < count; ++i) store(to[i], from[i]);
}

void update(const AdamWScalars& scalars, std::int64_t count, float* __restrict p,
            const float* __restrict gradient, float* __restrict m, float* __restrict v) {
  const AdamWScalars s = scalars;
  for (std::int64_t i = 0; i < count; ++i) {
    const float g = gradient[i] * s.factor;
    m[i] = s.beta1 * m[i] + s.rest1 * g;
    v[i] = s.beta2 * v[i] + s.rest2 * g * g;
    p[i] = p[i] * s.keep - s.rate * m[i] / (__builtin_sqrtf(v[i]) * s.correction2 + s.eps);
  }
}

template <typename T>
void adamw(const AdamWScalars& scalars, std::int64_t count, float* parameters, const float* gradients,
           float* exp_avg, float* exp_avg_sq, void* operand) {
#pragma omp parallel for schedule(static)
  for (std::int64_t begin = 0; begin < count; begin += kChunk) {
    const std::int64_t length = smaller(kChunk, count - begin);
    update(scalars, length, parameters + begin, gradients + begin, exp_avg + begin, exp_avg_sq + begin);
    if (operand != nullptr) round_to(parameters + begin, length, static_cast<T*>(operand) + begin);
  }
}

}  // namespace

template <typename T>
void add_update(Kernels& table) {
  table.sums_of_squares = sums_of_squares;
  table.adamw = adamw<T>;
}
STINT_FOR_EACH_OPERAND(add_update);

}  // namespace stint::model::STINT_KERNELS
