// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/kernels/values.h"

namespace stint::model::STINT_KERNELS {
namespace {

constexpr std::int64_t kChunk = 1 << 14;  // elements a thread takes at once

template <typename T>
void to_operand(const float* x, std::int64_t count, void* operand) {
  T* out = static_cast<T*>(operand);
#pragma omp parallel for schedule(static)
  for (std::int64_t begin = 0; begin < count; begin += kChunk)
    for (std::int64_t i = begin, end = smaller(begin + kChunk, count); i < end; ++i) store(out[i], x[i]);
}

template <typename T>
void to_floats(const void* operand, std::int64_t count, float* y) {
  const T* in = static_cast<const T*>(operand);
#pragma omp parallel for schedule(static)
  for (std::int64_t begin = 0; begin < count; begin += kChunk)
    for (std::int64_t i = begin, end = smaller(begin + kChunk, count); i < end; ++i) y[i] = load(in[i]);
}

template <typename T>
void add(const void* operand, std::int64_t count, float* y) {
  const T* in = static_cast<const T*>(operand);
#pragma omp parallel for schedule(static)
  for (std::int64_t begin = 0; begin < count; begin += kChunk)
    for (std::int64_t i = begin, end = smaller(begin + kChunk, count); i < end; ++i) y[i] += load(in[i]);
}

template <typename T>
void gather(const void* table, const std::int64_t* index, std::int64_t rows, std::int64_t width, float* out) {
#pragma omp parallel for schedule(static)
  for (std::int64_t r = 0; r < rows; ++r) {
    const T* in = static_cast<const T*>(table) + index[r] * width;
    for (std::int64_t i = 0; i < width; ++i) out[r * width + i] = load(in[i]);
  }
}

// Threads share the columns: a row of the table may be wanted more than once.
void scatter_add(const float* in, const std::int64_t* index, std::int64_t rows, std::int64_t width,
                 float* table) {
  constexpr std::int64_t kColumns = 64;
#pragma omp parallel for schedule(static)
  for (std::int64_t begin = 0; begin < width; begin += kColumns)
    for (std::int64_t r = 0; r < rows; ++r) {
      float* y = table + index[r] * width;
      for (std::int64_t i = begin, end = smaller(begin + kColumns, width); i < end; ++i)
        y[i] += in[r * width + i];
    }
}

}  // namespace

template <typename T>
void add_rows(Kernels& table) {
  table.to_operand = to_operand<T>;
  table.to_floats = to_floats<T>;
  table.add = add<T>;
  table.gather = gather<T>;
  table.scatter_add = scatter_add;
}
STINT_FOR_EACH_OPERAND(add_rows);

}  // namespace stint::model::STINT_KERNELS
