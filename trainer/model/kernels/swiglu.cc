// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/kernels/values.h"

namespace stint::model::STINT_KERNELS {
namespace {

constexpr std::int64_t kPart = 128;  // elements in hand at once

inline float sigmoid(float x) {
  return 1.0f / (1.0f + exponential(-x));
}

template <typename T>
void swiglu(const void* gate_up, std::int64_t rows, std::int64_t width, void* out) {
#pragma omp parallel for schedule(static)
  for (std::int64_t r = 0; r < rows; ++r) {
    const T* __restrict gate = static_cast<const T*>(gate_up) + r * 2 * width;
    const T* __restrict up = gate + width;
    T* __restrict y = static_cast<T*>(out) + r * width;
    for (std::int64_t i = 0; i < width; ++i) {
      const float g = load(gate[i]);
      store(y[i], g * sigmoid(g) * load(up[i]));
    }
  }
}

// Through floats, since loops that change several operands in place do not become vectors.
template <typename T>
void backward_part(T* gate, T* up, T* y, std::int64_t count) {
  float g[kPart], u[kPart], dy[kPart];
  for (std::int64_t i = 0; i < count; ++i) g[i] = load(gate[i]);
  for (std::int64_t i = 0; i < count; ++i) u[i] = load(up[i]);
  for (std::int64_t i = 0; i < count; ++i) dy[i] = load(y[i]);
  for (std::int64_t i = 0; i < count; ++i) {
    const float s = sigmoid(g[i]), silu = g[i] * s, d = dy[i];
    dy[i] = silu * u[i];
    g[i] = d * u[i] * s * (1.0f + g[i] * (1.0f - s));
    u[i] = d * silu;
  }
  for (std::int64_t i = 0; i < count; ++i) store(gate[i], g[i]);
  for (std::int64_t i = 0; i < count; ++i) store(up[i], u[i]);
  for (std::int64_t i = 0; i < count; ++i) store(y[i], dy[i]);
}

template <typename T>
void swiglu_backward(void* gate_up, void* out, std::int64_t rows, std::int64_t width) {
#pragma omp parallel for schedule(static)
  for (std::int64_t r = 0; r < rows; ++r) {
    T* gate = static_cast<T*>(gate_up) + r * 2 * width;
    T* y = static_cast<T*>(out) + r * width;
    for (std::int64_t i = 0; i < width; i += kPart)
      backward_part(gate + i, gate + width + i, y + i, smaller(kPart, width - i));
  }
}

}  // namespace

template <typename T>
void add_swiglu(Kernels& table) {
  table.swiglu = swiglu<T>;
  table.swiglu_backward = swiglu_backward<T>;
}
STINT_FOR_EACH_OPERAND(add_swiglu);

}  // namespace stint::model::STINT_KERNELS
