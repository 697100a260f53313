// SPDX-License-Identifier: Apache-2.0
// How much memory one worker of a recipe takes at most, part by part: what its buffers are laid out to. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "recipes/recipe.h"

namespace stint::recipes {

// In bytes, of one worker.
struct Memory {
  std::int64_t parameters = 0;   // fp32 masters, and copies where the model computes in bf16 or fp16
  std::int64_t gradients = 0;    // fp32
  std::int64_t optimizer = 0;    // two fp32 averages
  std::int64_t activations = 0;  // of one micro-batch, with what the products and kernels work in
  std::int64_t logits = 0;
  std::int64_t buffers = 0;     // of sharded state: units on their way to or from other workers
  std::int64_t checkpoint = 0;  // what an update keeps of the state while a checkpoint of it is written
  std::int64_t program = 0;     // code, libraries, their own memory
  std::int64_t total() const {
    return parameters + gradients + optimizer + activations + logits + buffers + checkpoint + program;
  }
};

// With so many workers in all.
Memory memory(const Recipe& recipe, std::int64_t workers);

// For people, by lines: each part and what a node needs.
std::string to_text(const Memory& memory, std::int64_t workers_per_node);

}  // namespace stint::recipes
