// SPDX-License-Identifier: Apache-2.0
// Sums of squares, AdamW and the learning rate schedule. On one device, results depend neither on the number
// of threads nor on the vector width, on where a parameter begins or on how the state is cut.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "recipes/recipe.h"
#include "trainer/engine/buffer.h"

namespace stint::engine {

// The sum of squares of some parts of a device's memory: in double, in an order that depends on the parts'
// sizes alone. The parts and the device outlive it.
class SquareSum {
 public:
  SquareSum(std::vector<std::span<const float>> parts, model::Device& device);
  double take();

 private:
  std::vector<std::span<const float>> parts_;
  model::Device& device_;
  Buffer sums_;  // in double, of each tile
  std::vector<double> host_sums_;
};

// The factor that brings a gradient of this norm to at most `limit`; 1 when limit is 0 (no clipping).
double clip_factor(double norm, double limit);

struct AdamW {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0;
};

// A run of elements of a device's memory that are all decayed or all not.
struct Slice {
  float* parameters;
  const float* gradients;
  float *exp_avg, *exp_avg_sq;
  std::size_t count;
  bool decays;
  void* operands = nullptr;  // where a rounded copy of the parameters goes; null: nowhere
};
// The elements of a slice, at most: what stays in a cache; what is worth a launch, and not too much for what
// an operation takes beside.
constexpr std::size_t kHostSlice = 1 << 16, kFarSlice = 1 << 24;

// One update, in one pass (Loshchilov and Hutter 2019, with the bias corrections of Kingma and Ba 2015):
//   g = factor * gradient;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g g;
//   p = p (1 - lr decay) - lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps)
// `update` is t, from 1. Slices that do not decay take no part in lr decay. `operand`: the type of the
// rounded copies. `before` is called with each slice that is about to be changed, on the host by several
// threads.
void adamw_update(const AdamW& adamw, double learning_rate, double factor, std::int64_t update,
                  std::span<const Slice> slices, model::Device& device, model::Operand operand,
                  const std::function<void(const Slice&)>& before = {});

// For the step with this index, from 0: linear warm-up that reaches learning_rate at index warmup_steps - 1;
// then the schedule: constant; towards min_learning_rate at index `steps` along a line (linear) or a half
// cosine; or constant and in the last decay_steps along a line (warmup_stable_decay, Hu et al. 2024).
double learning_rate(const recipes::Recipe& recipe, std::int64_t index);

}  // namespace stint::engine
