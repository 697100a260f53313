// SPDX-License-Identifier: Apache-2.0
// Where a model finds its parameters and leaves its gradients, unit by unit of the layout, so that somebody
// else can keep them in pieces and fetch and send them while the model computes. One thread.
#pragma once

#include <span>
#include <vector>

#include "trainer/model/config.h"
#include "trainer/model/kernels/kernels.h"

namespace stint::model {

class Storage {
 public:
  virtual ~Storage() = default;
  // The unit's parameters, as operands. Good until another unit's are asked for.
  virtual const void* parameters(std::size_t unit) = 0;
  // Where the unit's derivatives go. fresh: none were added yet; what stands in the place of a parameter has
  // no meaning, holes are zero. Good until complete(); the same, but no more fresh, if asked for again
  // before.
  struct Gradients {
    float* data;
    bool fresh;
  };
  virtual Gradients gradients(std::size_t unit) = 0;
  // This pass adds no more to the unit's derivatives.
  virtual void complete(std::size_t unit) = 0;
};

// Whole flat buffers; gradients are fresh once.
class FlatStorage final : public Storage {
 public:
  // `parameters`: layout.floats() operands; both are 64-byte aligned and outlive this.
  FlatStorage(const Layout& layout, Operand operand, const void* parameters, std::span<float> gradients)
      : units_(layout.units()),
        element_(bytes_of(operand)),
        parameters_(static_cast<const std::byte*>(parameters)),
        gradients_(gradients),
        fresh_(layout.units().size(), true) {}

  const void* parameters(std::size_t unit) override { return parameters_ + units_[unit].begin * element_; }
  Gradients gradients(std::size_t unit) override {
    const bool fresh = fresh_[unit];
    fresh_[unit] = false;
    return {&gradients_[units_[unit].begin], fresh};
  }
  void complete(std::size_t) override {}

 private:
  std::vector<Unit> units_;
  std::size_t element_;
  const std::byte* parameters_;
  std::span<float> gradients_;
  std::vector<bool> fresh_;
};

}  // namespace stint::model
