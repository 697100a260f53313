// SPDX-License-Identifier: Apache-2.0
// All memory of one forward and backward pass beside parameters and gradients, for one shape of batch. Laid
// out at the first call for a shape and kept. The device outlives it.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/model/arena.h"
#include "trainer/model/config.h"
#include "trainer/model/kernels/kernels.h"

namespace stint::model {

// What a layer's backward pass needs of its forward pass. "operand": in the products' type. With activation
// checkpointing all layers share all but `input`.
struct Activations {
  float *input, *middle;              // the residual stream before attention, and before the feed-forward
  float *input_scale, *middle_scale;  // of their norms
  float* lse;                         // of attention, [heads, rows]
  void *qkv, *mixed, *gate_up;        // operands
};

class Workspace {
 public:
  Workspace(const Config& config, Operand operand, bool checkpointing, Device& device);

  // Makes it fit. Throws FinalError when there is no such memory.
  void fit(std::int64_t batch, std::int64_t length);

  std::int64_t rows() const { return shape_.batch * shape_.length; }
  const AttentionShape& attention() const { return shape_; }

  std::vector<Activations> layers;
  float* norms = nullptr;                            // a unit's norm weights; unset where operands are floats
  std::int64_t *input = nullptr, *target = nullptr;  // tokens, one a row
  float *cosine = nullptr, *sine = nullptr;          // [length, head_size / 2]
  float *last = nullptr, *last_scale = nullptr;      // the residual stream after the last layer
  float* dstream = nullptr;                          // the derivative by the residual stream
  // Operands: a norm's output, a product's result as wide as the stream or the heads, the feed-forward's
  // inside, dstream once more (unset where operands are floats), the derivative by qkv.
  void *normed = nullptr, *result = nullptr, *inside = nullptr, *dstream_operand = nullptr, *dqkv = nullptr;
  void* logits = nullptr;       // [logit_rows, vocab_size]
  std::int64_t logit_rows = 0;  // at a time
  void* dweight = nullptr;      // a slice of a weight's derivative; unset where operands are floats
  double* losses = nullptr;
  float *norm_scratch = nullptr, *attention_scratch = nullptr, *logit_scratch = nullptr;

  static constexpr std::int64_t kSlice = 1 << 20;  // elements of dweight, where one row has no more

 private:
  void ask_for_layers();
  void fill_rotary_tables() const;

  Config config_;
  Operand operand_;
  bool checkpointing_;
  Device& device_;
  AttentionShape shape_;
  Arena arena_;
};

}  // namespace stint::model
