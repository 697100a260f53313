// SPDX-License-Identifier: Apache-2.0
// Gradient norm, AdamW and the learning rate schedule over flat buffers. Results do not depend on the number
// of threads, the vector width or where a parameter begins. No torch, no state of its own.
#pragma once

#include <cstdint>
#include <span>

#include "recipes/recipe.h"
#include "trainer/model/config.h"

namespace stint::engine {

// Euclidean norm; squares are added in double in an order that depends on values.size() alone.
double gradient_norm(std::span<const float> values);

// The factor that brings a gradient of this norm to at most `limit`; 1 when limit is 0 (no clipping).
double clip_factor(double norm, double limit);

struct AdamW {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0;
};

// One update, in one pass (Loshchilov and Hutter 2019, with the bias corrections of Kingma and Ba 2015):
//   g = factor * gradient;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g g;
//   p = p (1 - lr decay) - lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps)
// `update` is t, from 1. Parameters whose `decays` is false are not decayed. All spans have layout.floats()
// elements.
void adamw_update(const AdamW& adamw, const model::Layout& layout, double learning_rate, double factor,
                  std::int64_t update, std::span<float> parameters, std::span<const float> gradients,
                  std::span<float> exp_avg, std::span<float> exp_avg_sq);

// For the step with this index, from 0: linear warm-up that reaches learning_rate at index warmup_steps - 1,
// then a half cosine towards min_learning_rate at index `steps`.
double learning_rate(const recipes::Recipe& recipe, std::int64_t index);

}  // namespace stint::engine
