// SPDX-License-Identifier: Apache-2.0
// The one table of operations that a model is made of, beside matrix products: plain loops over the caller's
// memory, without torch. There is a table for each vector unit, all from the same sources; another device is
// another table. Nothing allocates, throws or keeps state. Each operation spreads over OpenMP's threads of
// the caller.
// Bits never depend on the number of threads. Beside the two of attention they do not depend on the vector
// unit either: sums have 16 lanes and no product is fused with an addition. Attention's inner products follow
// the vector unit, as those of the BLAS do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace stint::model {

// The type of what matrix products read and write; `operand` below. kRounded: floats with the values of bf16,
// for machines without products in bf16: stored rounded, and rounded when a product's result is loaded.
// kHalf: the same with fp16, in which no processor that we know of multiplies.
enum class Operand { kFloat, kRounded, kBf16, kHalf };

constexpr std::size_t bytes_of(Operand operand) {
  return operand == Operand::kBf16 ? 2 : 4;
}

// Rows of q, k and v side by side, each position a row: [heads | key_value_heads | key_value_heads] vectors
// of head_size. Query head h reads key head h / (heads / key_value_heads).
struct AttentionShape {
  std::int64_t batch = 0, length = 0, heads = 0, key_value_heads = 0, head_size = 0;
  std::int64_t row() const { return (heads + 2 * key_value_heads) * head_size; }
};

// Floats that attention and its derivative work in, for so many threads; grows with the length, not with its
// square.
std::int64_t attention_scratch(const AttentionShape& shape, int threads);
// Floats that rms_norm_backward works in.
std::int64_t rms_norm_scratch(std::int64_t rows, std::int64_t width);

constexpr std::int64_t kSumTile = 1 << 16;

// g = factor * gradient; m = beta1 m + rest1 g; v = beta2 v + rest2 g g;
// p = keep p - rate m / (correction2 sqrt(v) + eps)
struct AdamWScalars {
  float keep, factor, beta1, rest1, beta2, rest2, rate, correction2, eps;
};

struct Kernels {
  const char* name;  // of the vector unit

  // operand = x, y = operand, and y += operand.
  void (*to_operand)(const float* x, std::int64_t count, void* operand);
  void (*to_floats)(const void* operand, std::int64_t count, float* y);
  void (*add)(const void* operand, std::int64_t count, float* y);

  // out[r] = table[index[r]] (operand), and table[index[r]] += rows[r] in the order of r.
  void (*gather)(const void* table, const std::int64_t* index, std::int64_t rows, std::int64_t width,
                 float* out);
  void (*scatter_add)(const float* in, const std::int64_t* index, std::int64_t rows, std::int64_t width,
                      float* table);

  // sum = x + delta; scale[r] = 1 / sqrt(mean(sum^2) + eps); out = sum * scale * weight (Zhang and Sennrich
  // 2019). Without delta (operand), sum is x and may be null.
  void (*rms_norm)(const float* x, const void* delta, const float* weight, float eps, std::int64_t rows,
                   std::int64_t width, float* sum, float* scale, void* out);
  // The last step alone: out = x * scale * weight.
  void (*scale_rows)(const float* x, const float* scale, const float* weight, std::int64_t rows,
                     std::int64_t width, void* out);
  // From dy (operand), x and scale: dx += …, dweight += …; copy (may be null) = dx as operand.
  void (*rms_norm_backward)(const void* dy, const float* x, const float* scale, const float* weight,
                            std::int64_t rows, std::int64_t width, float* dx, float* dweight, void* copy,
                            float* scratch);

  // Rotary embedding in place, of the first `heads` vectors of each row (Su et al. 2021): pairs (i, i + half)
  // turn by the angle whose cosine and sine stand at [position][i]; `direction` -1 turns back.
  void (*rotate)(void* operand, const AttentionShape& shape, const float* cosine, const float* sine,
                 float direction);
  // Causal softmax attention by tiles (Dao et al. 2022): out [rows, heads * head_size] in operands; lse
  // [heads, rows]: logarithms of the softmax's denominators.
  void (*attention)(const void* qkv, const AttentionShape& shape, void* out, float* lse, float* scratch);
  void (*attention_backward)(const void* qkv, const void* out, const void* dout, const float* lse,
                             const AttentionShape& shape, void* dqkv, float* scratch);

  // gate_up: [rows, gate | up]; out = silu(gate) * up (Shazeer 2020).
  void (*swiglu)(const void* gate_up, std::int64_t rows, std::int64_t width, void* out);
  // In: gate_up, and the derivative by out. Out: the derivatives by gate_up, and out itself.
  void (*swiglu_backward)(void* gate_up, void* out, std::int64_t rows, std::int64_t width);

  // losses[r] = -log softmax(logits[r])[target[r]]; logits become derivative * d(losses[r]) / d(logits[r]),
  // or are left alone where `derivative` is 0. scratch: `width` floats a thread.
  void (*cross_entropy)(void* logits, const std::int64_t* target, std::int64_t rows, std::int64_t width,
                        float derivative, double* losses, float* scratch);

  // sums[i] = the sum of squares, in double, of the i-th kSumTile values (fewer at the end), in an order that
  // depends on their number alone.
  void (*sums_of_squares)(const float* values, std::int64_t count, double* sums);
  // One update by AdamW of `count` elements; operand (may be null) = the new parameters.
  void (*adamw)(const AdamWScalars& scalars, std::int64_t count, float* parameters, const float* gradients,
                float* exp_avg, float* exp_avg_sq, void* operand);
};

// The tables whose vector unit this processor has, the widest first; never empty.
std::span<const Kernels* const> kernels_of(Operand operand);

}  // namespace stint::model
