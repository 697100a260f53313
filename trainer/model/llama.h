// SPDX-License-Identifier: Apache-2.0
// The Llama architecture: RMSNorm, rotary embedding (half-split, as Hugging Face), causal grouped-query
// attention, SwiGLU; on ATen operators with autograd. Torch stays behind this header. It owns no state:
// parameters and gradients are the caller's flat buffers in Layout's order. One thread a model (ATen's own
// pool beneath).
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "trainer/model/config.h"

namespace stint::model {

// Sets the width of ATen's pool and flushes denormals to zero, in this thread and the pool's. Call before any
// other mathematics, from the thread that trains; the width must not change during a run, or bits do.
void start_mathematics(int threads);

// Normal(0, initializer_range) by (seed, name), norms one, padding zero.
void initialize(const Config& config, const Layout& layout, std::uint64_t seed, std::span<float> parameters);

class Llama {
 public:
  // Both spans have layout.floats() elements, are 64-byte aligned and outlive the model.
  Llama(const Config& config, const Layout& layout, std::span<float> parameters, std::span<float> gradients);
  ~Llama();
  Llama(const Llama&) = delete;
  Llama& operator=(const Llama&) = delete;

  // tokens: [batch, length + 1], row-major, each in [0, vocab_size); position t predicts t + 1. Returns the
  // cross-entropy in nats summed over batch * length tokens times `scale`, and adds its derivative to the
  // gradients.
  double forward_backward(std::span<const std::int64_t> tokens, std::int64_t batch, double scale);
  // The same sum without derivatives.
  double forward(std::span<const std::int64_t> tokens, std::int64_t batch, double scale);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stint::model
