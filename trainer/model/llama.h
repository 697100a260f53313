// SPDX-License-Identifier: Apache-2.0
// The Llama architecture: RMSNorm, rotary embedding (half-split, as Hugging Face), causal grouped-query
// attention, SwiGLU; forward and backward by hand, on the operations of kernels.h and the products of
// products.h. Parameters and gradients are the caller's flat buffers in Layout's order; all else is laid out
// at the first call for a shape of batch and kept. One thread a model (OpenMP's and ATen's pool beneath).
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "trainer/model/config.h"
#include "trainer/model/products.h"

namespace stint::model {

// Normal(0, initializer_range) by (seed, name), norms one, padding zero.
void initialize(const Config& config, const Layout& layout, std::uint64_t seed, std::span<float> parameters);

class Llama {
 public:
  // Both spans have layout.floats() elements, are 64-byte aligned and outlive the model.
  Llama(const Config& config, const Layout& layout, std::span<float> parameters, std::span<float> gradients);
  ~Llama();
  Llama(const Llama&) = delete;
  Llama& operator=(const Llama&) = delete;

  // tokens: [batch, length + 1], row-major; position t predicts t + 1. Returns the cross-entropy in nats
  // summed over batch * length tokens times `scale`, and adds its derivative to the gradients. Throws Error
  // on tokens outside of the vocabulary, FinalError when the memory does not suffice.
  double forward_backward(std::span<const std::int64_t> tokens, std::int64_t batch, double scale);
  // The same sum without derivatives.
  double forward(std::span<const std::int64_t> tokens, std::int64_t batch, double scale);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stint::model
