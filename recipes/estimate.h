// SPDX-License-Identifier: Apache-2.0
// How much arithmetic a recipe is, and so how long it takes on nodes of a known speed. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "recipes/recipe.h"

namespace stint::recipes {

struct Estimate {
  std::int64_t parameters = 0;  // a tied embedding counts once
  double flops_per_token = 0;   // of training: forward and backward, causal attention included
  std::int64_t tokens = 0;      // of the whole run
  double flops() const { return flops_per_token * static_cast<double>(tokens); }
};

// 6 FLOPs for each token and each parameter of a matrix product (Kaplan et al. 2020, appendix F), and
// 6 x layers x hidden_size x sequence_length for attention whose upper half is never computed.
Estimate estimate(const Recipe& recipe);

// On `nodes` nodes that sustain so many TFLOP/s each, with a tenth more for start, saves and restarts; in
// whole minutes, at least one. `nodes` and `node_tflops` > 0.
std::chrono::minutes run_time(const Estimate& estimate, std::int64_t nodes, double node_tflops);

// For people, by lines; without a speed (0) it says where one is given.
std::string to_text(const Estimate& estimate, std::int64_t nodes, double node_tflops);

}  // namespace stint::recipes
