// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <omp.h>

#include "trainer/model/kernels/values.h"

namespace stint::model::STINT_KERNELS {
namespace {

template <typename T>
double cross_entropy_row(T* __restrict logits, std::int64_t target, std::int64_t width, float derivative,
                         float* __restrict powers) {
  const float top = largest(width, [=](std::int64_t i) { return load(logits[i]); });
  for (std::int64_t i = 0; i < width; ++i) powers[i] = exponential(load(logits[i]) - top);
  const float sum = lane_sum(width, [=](std::int64_t i) { return powers[i]; });
  const double loss = log(static_cast<double>(sum)) + (top - load(logits[target]));
  if (derivative == 0.0f) return loss;
  const float factor = derivative / sum;
  const float at_target = powers[target] * factor - derivative;
  for (std::int64_t i = 0; i < width; ++i) store(logits[i], powers[i] * factor);
  store(logits[target], at_target);
  return loss;
}

template <typename T>
void cross_entropy(void* logits, const std::int64_t* target, std::int64_t rows, std::int64_t width,
                   float derivative, double* losses, float* scratch) {
#pragma omp parallel for schedule(static)
  for (std::int64_t r = 0; r < rows; ++r)
    losses[r] = cross_entropy_row(static_cast<T*>(logits) + r * width, target[r], width, derivative,
                                  scratch + omp_get_thread_num() * width);
}

}  // namespace

template <typename T>
void add_cross_entropy(Kernels& table) {
  table.cross_entropy = cross_entropy<T>;
}
STINT_FOR_EACH_OPERAND(add_cross_entropy);

}  // namespace stint::model::STINT_KERNELS
