// SPDX-License-Identifier: Apache-2.0
// Works through blocks that stay in a core's first-level cache: a block's sum is made once and copied from
// there to all who want it. Vectors are written out, for all widths at once: of plain loops over bf16 the
// compiler makes code a third as fast. Compiled with -ffp-contract=off, as trainer/engine/optimizer.cc is, so
// that every clone rounds alike.
#include "trainer/comm/tree_sum.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define STINT_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define STINT_VECTOR_CLONES
#endif
#define STINT_INLINE inline __attribute__((always_inline))

namespace stint::comm {
namespace {

constexpr std::size_t kBlock = 512;
struct alignas(64) Block {
  std::array<float, kBlock> values;
};

using Floats = float __attribute__((vector_size(64)));
using Words = std::uint32_t __attribute__((vector_size(64)));

// 32 numbers. Those that come from bf16 are parted into even and odd places: that takes a shift and a mask
// where keeping their order would take many shuffles. They stay so in a Block until they are bf16 again.
constexpr std::size_t kLanes = 32;
struct Numbers {
  Floats first, second;
};

STINT_INLINE Numbers operator+(Numbers a, Numbers b) {
  return {a.first + b.first, a.second + b.second};
}
STINT_INLINE Numbers load(const float* from) {
  Numbers values;
  std::memcpy(&values, from, sizeof values);
  return values;
}
STINT_INLINE Numbers load(const Bf16* from) {
  Words pairs;
  std::memcpy(&pairs, &from->bits, sizeof pairs);
  return {reinterpret_cast<Floats>(pairs << 16), reinterpret_cast<Floats>(pairs & 0xffff0000U)};
}
STINT_INLINE void store(Numbers values, float* to) {
  std::memcpy(to, &values, sizeof values);
}
// As to_bf16().
STINT_INLINE Words rounded(Floats values) {
  const auto bits = reinterpret_cast<Words>(values);
  const auto is_nan = (bits & 0x7fffffffU) > 0x7f800000U;
  return is_nan ? bits | 0x400000U : bits + 0x7fffU + ((bits >> 16) & 1U);
}
STINT_INLINE void store(Numbers values, Bf16* to) {
  const Words pairs = rounded(values.first) >> 16 | (rounded(values.second) & 0xffff0000U);
  std::memcpy(&to->bits, &pairs, sizeof pairs);
}

STINT_INLINE float widened(float value) {
  return value;
}
STINT_INLINE float widened(Bf16 value) {
  return to_float(value);
}
STINT_INLINE void store(float value, float* to) {
  *to = value;
}
STINT_INLINE void store(float value, Bf16* to) {
  *to = to_bf16(value);
}

template <typename From, typename To>
STINT_INLINE void add_two(const From* a, const From* b, To* sum, std::size_t count) {
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(load(a + i) + load(b + i), sum + i);
  for (; i < count; ++i) store(widened(a[i]) + widened(b[i]), sum + i);
}

template <typename From, typename To>
STINT_INLINE void add_four(const From* a, const From* b, const From* c, const From* d, To* sum,
                           std::size_t count) {
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    store((load(a + i) + load(b + i)) + (load(c + i) + load(d + i)), sum + i);
  for (; i < count; ++i) store((widened(a[i]) + widened(b[i])) + (widened(c[i]) + widened(d[i])), sum + i);
}

// The clones: of functions, since templates cannot be cloned.
STINT_VECTOR_CLONES void two(const float* a, const float* b, float* sum, std::size_t count) {
  add_two(a, b, sum, count);
}
STINT_VECTOR_CLONES void two(const float* a, const float* b, Bf16* sum, std::size_t count) {
  add_two(a, b, sum, count);
}
STINT_VECTOR_CLONES void two(const Bf16* a, const Bf16* b, float* sum, std::size_t count) {
  add_two(a, b, sum, count);
}
STINT_VECTOR_CLONES void two(const Bf16* a, const Bf16* b, Bf16* sum, std::size_t count) {
  add_two(a, b, sum, count);
}
STINT_VECTOR_CLONES void four(const float* a, const float* b, const float* c, const float* d, float* sum,
                              std::size_t count) {
  add_four(a, b, c, d, sum, count);
}
STINT_VECTOR_CLONES void four(const Bf16* a, const Bf16* b, const Bf16* c, const Bf16* d, float* sum,
                              std::size_t count) {
  add_four(a, b, c, d, sum, count);
}
STINT_VECTOR_CLONES void four(const Bf16* a, const Bf16* b, const Bf16* c, const Bf16* d, Bf16* sum,
                              std::size_t count) {
  add_four(a, b, c, d, sum, count);
}

template <typename From, typename To>
STINT_INLINE void copy_one(const From* from, To* to, std::size_t count) {
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(load(from + i), to + i);
  for (; i < count; ++i) store(widened(from[i]), to + i);
}
STINT_VECTOR_CLONES void one(const float* from, float* to, std::size_t count) {
  copy_one(from, to, count);
}
STINT_VECTOR_CLONES void one(const Bf16* from, float* to, std::size_t count) {
  copy_one(from, to, count);
}
void one(const Bf16* from, Bf16* to, std::size_t count) {
  std::copy_n(from, count, to);
}

// The tree over `terms`, from element `at` on; To is float but for the whole tree.
template <typename From, typename To>
void sum_block(std::span<const From* const> terms, std::size_t at, std::size_t count, To* sum) {
  switch (terms.size()) {
    case 1:
      return one(terms[0] + at, sum, count);
    case 2:
      return two(terms[0] + at, terms[1] + at, sum, count);
    case 4:
      return four(terms[0] + at, terms[1] + at, terms[2] + at, terms[3] + at, sum, count);
    default: {
      const std::size_t middle = std::bit_floor(terms.size() - 1);
      Block left, right;
      sum_block(terms.first(middle), at, count, left.values.data());
      sum_block(terms.subspan(middle), at, count, right.values.data());
      two(left.values.data(), right.values.data(), sum, count);
    }
  }
}

template <typename T>
void sum_all(std::span<const T* const> terms, std::span<T* const> sums, std::size_t count) {
  for (std::size_t at = 0; at < count; at += kBlock) {
    const std::size_t length = std::min(kBlock, count - at);
    const T* sum = sums[0] + at;
    sum_block(terms, at, length, sums[0] + at);
    for (T* to : sums.subspan(1)) std::copy_n(sum, length, to + at);
  }
}

}  // namespace

void tree_sum(std::span<const float* const> terms, std::span<float* const> sums, std::size_t count) {
  sum_all(terms, sums, count);
}

void tree_sum(std::span<const Bf16* const> terms, std::span<Bf16* const> sums, std::size_t count) {
  sum_all(terms, sums, count);
}

}  // namespace stint::comm
