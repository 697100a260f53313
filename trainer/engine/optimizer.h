// SPDX-License-Identifier: Apache-2.0
// Sums of squares, AdamW and the learning rate schedule. Results do not depend on the number of threads, the
// vector width, where a parameter begins or how the state is cut. No torch, no state of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "recipes/recipe.h"

namespace stint::engine {

// Squares are added in double in an order that depends on values.size() alone.
double sum_of_squares(std::span<const float> values);

// The factor that brings a gradient of this norm to at most `limit`; 1 when limit is 0 (no clipping).
double clip_factor(double norm, double limit);

struct AdamW {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0;
};

// A run of elements that are all decayed or all not, of at most kSlice.
struct Slice {
  float* parameters;
  const float* gradients;
  float *exp_avg, *exp_avg_sq;
  std::size_t count;
  bool decays;
  void* operands = nullptr;  // where a rounded copy of the parameters goes; null: nowhere
};
// Rounds `count` parameters to operands.
using Round = void (*)(const float* parameters, std::int64_t count, void* operands);
constexpr std::size_t kSlice = 1 << 16;

// One update, in one pass (Loshchilov and Hutter 2019, with the bias corrections of Kingma and Ba 2015):
//   g = factor * gradient;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g g;
//   p = p (1 - lr decay) - lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps)
// `update` is t, from 1. Slices that do not decay take no part in lr decay. `before` is called with each
// slice that is about to be changed, by several threads.
void adamw_update(const AdamW& adamw, double learning_rate, double factor, std::int64_t update,
                  std::span<const Slice> slices, Round round = nullptr,
                  const std::function<void(const Slice&)>& before = {});

// For the step with this index, from 0: linear warm-up that reaches learning_rate at index warmup_steps - 1;
// then the schedule: constant; towards min_learning_rate at index `steps` along a line (linear) or a half
// cosine; or constant and in the last decay_steps along a line (warmup_stable_decay, Hu et al. 2024).
double learning_rate(const recipes::Recipe& recipe, std::int64_t index);

}  // namespace stint::engine
