// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/kernels/values.h"

namespace stint::model::STINT_KERNELS {
namespace {

template <typename T>
void rotate(void* operand, const AttentionShape& shape, const float* cosine, const float* sine,
            float direction) {
  const std::int64_t half = shape.head_size / 2, rows = shape.batch * shape.length;
  const std::int64_t turned = (shape.heads + shape.key_value_heads) * shape.head_size;
#pragma omp parallel for schedule(static)
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* __restrict c = cosine + r % shape.length * half;
    const float* __restrict s = sine + r % shape.length * half;
    T* row = static_cast<T*>(operand) + r * shape.row();
    for (T* head = row; head < row + turned; head += shape.head_size) {
      T* __restrict low = head;
      T* __restrict high = head + half;
      for (std::int64_t i = 0; i < half; ++i) {
        const float a = load(low[i]), b = load(high[i]), turn = direction * s[i];
        store(low[i], a * c[i] - b * turn);
        store(high[i], b * c[i] + a * turn);
      }
    }
  }
}

}  // namespace

template <typename T>
void add_rotary(Kernels& table) {
  table.rotate = rotate<T>;
}
STINT_FOR_EACH_OPERAND(add_rotary);

}  // namespace stint::model::STINT_KERNELS
