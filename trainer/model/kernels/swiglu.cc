// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/kernels/values.h"

namespace stint::model::STINT_KERNELS {
namespace {

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

template <typename T>
void backward_row(T* __restrict gate, T* __restrict up, T* __restrict y, std::int64_t width) {
  for (std::int64_t i = 0; i < width; ++i) {
    const float g = load(gate[i]), u = load(up[i]), d = load(y[i]);
    const float s = sigmoid(g), silu = g * s;
    store(y[i], silu * u);
    store(gate[i], d * u * s * (1.0f + g * (1.0f - s)));
    store(up[i], d * silu);
  }
}

template <typename T>
void swiglu_backward(void* gate_up, void* out, std::int64_t rows, std::int64_t width) {
#pragma omp parallel for schedule(static)
  for (std::int64_t r = 0; r < rows; ++r) {
    T* gate = static_cast<T*>(gate_up) + r * 2 * width;
    T* y = static_cast<T*>(out) + r * width;
    backward_row(gate, gate + width, y, width);
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
