// SPDX-License-Identifier: Apache-2.0
// The Llama architecture: RMSNorm, rotary embedding (half-split, as Hugging Face), causal grouped-query
// attention, SwiGLU; forward and backward by hand, on a device's operations and matrix products. Parameters
// and gradients are in the caller's Storage; all else is laid out at the first call for a shape of batch and
// kept. One thread a model (OpenMP's and ATen's pool beneath).
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "trainer/model/config.h"
#include "trainer/model/device.h"
#include "trainer/model/storage.h"

namespace stint::model {

// Normal(0, initializer_range) by (seed, name), norms one, padding zero. `parameters`: of one unit.
void initialize(const Config& config, const Layout& layout, std::uint64_t seed, std::size_t unit,
                std::span<float> parameters);
// The same of all units.
void initialize(const Config& config, const Layout& layout, std::uint64_t seed, std::span<float> parameters);

// What the model's parameters are, on this device.
Operand operand_of(const Config& config, const Device& device = cpu());

class Llama {
 public:
  // Storage and device outlive the model; what the storage lends is the device's memory. `checkpointing`:
  // only the input of each layer is kept for the backward pass, which computes the rest again; the same bits
  // in less memory.
  Llama(const Config& config, const Layout& layout, Storage& storage, bool checkpointing = false,
        Device& device = cpu());
  ~Llama();
  Llama(const Llama&) = delete;
  Llama& operator=(const Llama&) = delete;

  // tokens: [batch, length + 1], row-major; position t predicts t + 1. Returns the cross-entropy in nats
  // summed over batch * length tokens times `scale`, and adds its derivative to the gradients. Throws Error
  // on tokens outside of the vocabulary, FinalError when the memory does not suffice.
  double forward_backward(std::span<const std::int64_t> tokens, std::int64_t batch, double scale);
  // Asks the storage for the same things in the same order and computes nothing, where others have one more
  // batch.
  void idle();
  // The same sum without derivatives.
  double forward(std::span<const std::int64_t> tokens, std::int64_t batch, double scale);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stint::model
