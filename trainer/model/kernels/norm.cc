// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/kernels/values.h"

namespace stint::model::STINT_KERNELS {
namespace {

template <typename T>
void scale_row(const float* __restrict x, float scale, const float* __restrict weight, std::int64_t width,
               T* __restrict out) {
  for (std::int64_t i = 0; i < width; ++i) store(out[i], x[i] * scale * weight[i]);
}

template <typename T>
void rms_norm(const float* x, const void* delta, const float* weight, float eps, std::int64_t rows,
              std::int64_t width, float* sum, float* scale, void* out) {
#pragma omp parallel for schedule(static)
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* row = x + r * width;
    if (delta != nullptr) {
      const T* more = static_cast<const T*>(delta) + r * width;
      float* both = sum + r * width;
      for (std::int64_t i = 0; i < width; ++i) both[i] = row[i] + load(more[i]);
      row = both;
    }
    const float squares = lane_sum(width, [row](std::int64_t i) { return row[i] * row[i]; });
    scale[r] = 1.0f / __builtin_sqrtf(squares / static_cast<float>(width) + eps);
    scale_row(row, scale[r], weight, width, static_cast<T*>(out) + r * width);
  }
}

template <typename T>
void scale_rows(const float* x, const float* scale, const float* weight, std::int64_t rows,
                std::int64_t width, void* out) {
#pragma omp parallel for schedule(static)
  for (std::int64_t r = 0; r < rows; ++r)
    scale_row(x + r * width, scale[r], weight, width, static_cast<T*>(out) + r * width);
}

// With y = s x w and s = 1 / sqrt(mean(x^2) + eps): dx = s w dy - x s^3 / n * sum(w dy x), dw = dy s x.
template <typename T>
void backward_row(const T* __restrict dy, const float* __restrict x, float scale,
                  const float* __restrict weight, std::int64_t width, float* __restrict dx,
                  float* __restrict dweight) {
  const float dot = lane_sum(width, [=](std::int64_t i) { return load(dy[i]) * weight[i] * x[i]; });
  const float back = dot * scale * scale * scale / static_cast<float>(width);
  for (std::int64_t i = 0; i < width; ++i) {
    const float g = load(dy[i]) * scale;
    dweight[i] += g * x[i];
    dx[i] += g * weight[i] - x[i] * back;
  }
}

template <typename T>
void rms_norm_backward(const void* dy, const float* x, const float* scale, const float* weight,
                       std::int64_t rows, std::int64_t width, float* dx, float* dweight, void* copy,
                       float* scratch) {
  const std::int64_t blocks = padded(rows, kNormBlock) / kNormBlock;
#pragma omp parallel for schedule(static)
  for (std::int64_t block = 0; block < blocks; ++block) {
    float* sums = scratch + block * width;
    for (std::int64_t i = 0; i < width; ++i) sums[i] = 0;
    for (std::int64_t r = block * kNormBlock, end = smaller(r + kNormBlock, rows); r < end; ++r) {
      backward_row(static_cast<const T*>(dy) + r * width, x + r * width, scale[r], weight, width,
                   dx + r * width, sums);
      if (copy == nullptr) continue;
      T* out = static_cast<T*>(copy) + r * width;
      for (std::int64_t i = 0; i < width; ++i) store(out[i], dx[r * width + i]);
    }
  }
  for (std::int64_t block = 0; block < blocks; ++block)
    for (std::int64_t i = 0; i < width; ++i) dweight[i] += scratch[block * width + i];
}

}  // namespace

template <typename T>
void add_norm(Kernels& table) {
  table.rms_norm = rms_norm<T>;
  table.scale_rows = scale_rows<T>;
  table.rms_norm_backward = rms_norm_backward<T>;
}
STINT_FOR_EACH_OPERAND(add_norm);

}  // namespace stint::model::STINT_KERNELS
