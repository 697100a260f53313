// SPDX-License-Identifier: Apache-2.0
// The products of attention, of small matrices within a core's caches. What is multiplied is made of words of
// 32 bits, each so many numbers that follow each other along the depth: a float, or two in bf16 where the
// processor multiplies such pairs. Sums are floats.
#pragma once

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "trainer/model/kernels/values.h"

namespace stint::model::STINT_KERNELS {
namespace {

#if defined(__AVX512F__)
constexpr std::int64_t kWidth = 16, kVectors = 4;
#elif defined(__AVX__)
constexpr std::int64_t kWidth = 8, kVectors = 2;
#else
constexpr std::int64_t kWidth = 4, kVectors = 2;
#endif
typedef float Vector __attribute__((vector_size(4 * kWidth)));
typedef Vector VectorInMemory __attribute__((aligned(4), may_alias));

// How operands of type T are multiplied.
template <typename T>
struct WordOf {
  using Type = float;
};
template <typename Word>
constexpr std::int64_t kDeep = 1;  // numbers in a word

inline void accumulate(Vector& sum, float left, Vector right) {
  sum += left * right;
}

#if defined(__AVX512BF16__)
struct __attribute__((may_alias)) Pair {
  std::uint32_t bits;  // the first number's are the low ones
};
template <>
struct WordOf<Bf16> {
  using Type = Pair;
};
template <>
inline constexpr std::int64_t kDeep<Pair> = 2;

inline void accumulate(Vector& sum, Pair left, Vector right) {
  const auto both = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(left.bits)));
  sum = _mm512_dpbf16_ps(sum, both, reinterpret_cast<__m512bh>(right));
}
#endif

// Word (i, k) of the left side stands at data[i * row + k * column].
template <typename Word>
struct Left {
  const Word* data;
  std::int64_t row, column;

  Left from(std::int64_t i, std::int64_t k) const { return {data + i * row + k * column, row, column}; }
};

// A right side or a result: words or floats, side by side in a row.
template <typename Word>
struct Rows {
  Word* data;
  std::int64_t row;

  Rows from(std::int64_t i, std::int64_t k) const { return {data + i * row + k, row}; }
};
template <typename Word>
using Right = Rows<const Word>;
using Out = Rows<float>;

// c[kRows, kColumns vectors] = or += a b, in registers from end to end.
template <std::int64_t kRows, std::int64_t kColumns, typename Word>
inline void block(Left<Word> a, Right<Word> b, std::int64_t words, Out c, bool adds) {
  Vector sum[kRows][kColumns];
  for (auto& row : sum)
    for (Vector& v : row) v = Vector{};
  for (std::int64_t k = 0; k < words; ++k) {
    Vector right[kColumns];
    for (std::int64_t v = 0; v < kColumns; ++v)
      right[v] = *reinterpret_cast<const VectorInMemory*>(b.data + k * b.row + v * kWidth);
    for (std::int64_t r = 0; r < kRows; ++r) {
      const Word left = a.data[r * a.row + k * a.column];
      for (std::int64_t v = 0; v < kColumns; ++v) accumulate(sum[r][v], left, right[v]);
    }
  }
  for (std::int64_t r = 0; r < kRows; ++r)
    for (std::int64_t v = 0; v < kColumns; ++v) {
      VectorInMemory* place = reinterpret_cast<VectorInMemory*>(c.data + r * c.row + v * kWidth);
      *place = adds ? *place + sum[r][v] : sum[r][v];
    }
}

// As many rows at once as keep all registers busy.
template <std::int64_t kColumns, typename Word>
inline void columns(Left<Word> a, Right<Word> b, std::int64_t rows, std::int64_t words, Out c, bool adds) {
  constexpr std::int64_t kRows = kColumns > 2 ? 4 : 8 / kColumns * 2;
  std::int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) block<kRows, kColumns>(a.from(r, 0), b, words, c.from(r, 0), adds);
  for (; r < rows; ++r) block<1, kColumns>(a.from(r, 0), b, words, c.from(r, 0), adds);
}

// c[rows, width] = or += a[rows, depth] b[depth, width], the depth in words; width is a multiple of kLanes.
template <typename Word>
void product(Left<Word> a, Right<Word> b, std::int64_t rows, std::int64_t width, std::int64_t words, Out c,
             bool adds) {
  std::int64_t i = 0;
  for (; i + kVectors * kWidth <= width; i += kVectors * kWidth)
    columns<kVectors>(a, b.from(0, i), rows, words, c.from(0, i), adds);
  for (; i + 2 * kWidth <= width; i += 2 * kWidth)
    columns<2>(a, b.from(0, i), rows, words, c.from(0, i), adds);
  for (; i < width; i += kWidth) columns<1>(a, b.from(0, i), rows, words, c.from(0, i), adds);
}

}  // namespace
}  // namespace stint::model::STINT_KERNELS
