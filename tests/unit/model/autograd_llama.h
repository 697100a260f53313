// SPDX-License-Identifier: Apache-2.0
// The Llama architecture on ATen operators with autograd: what the hand-written forward and backward passes
// are compared with, number by number, at sizes where plain loops are too slow.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "trainer/model/config.h"

namespace stint::model {

// As Llama, over the same flat layout.
class AutogradLlama {
 public:
  AutogradLlama(const Config& config, const Layout& layout, std::span<float> parameters,
                std::span<float> gradients);
  ~AutogradLlama();
  double forward_backward(std::span<const std::int64_t> tokens, std::int64_t batch, double scale);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stint::model
