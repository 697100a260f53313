// SPDX-License-Identifier: Apache-2.0
// Works through blocks that stay in a core's first-level cache: a block's sum is built in fp32, then rounded
// and stored to all who want it. Compiled with -ffp-contract=off, as trainer/engine/optimizer.cc is, so that
// every clone rounds alike.
#include "trainer/comm/tree_sum.h"

#include <algorithm>
#include <array>
#include <bit>

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define STINT_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define STINT_VECTOR_CLONES
#endif

namespace stint::comm {
namespace {

constexpr std::size_t kBlock = 512;
using Block = std::array<float, kBlock>;

inline float widened(float value) {
  return value;
}
inline float widened(Bf16 value) {
  return to_float(value);
}
inline void store(float& to, float value) {
  to = value;
}
inline void store(Bf16& to, float value) {
  to = to_bf16(value);
}

template <typename T>
inline __attribute__((always_inline)) void add_two(const T* a, const T* b, float* sum, std::size_t count) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < count; ++i) sum[i] = widened(a[i]) + widened(b[i]);
}

template <typename T>
inline __attribute__((always_inline)) void add_four(const T* a, const T* b, const T* c, const T* d,
                                                    float* sum, std::size_t count) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < count; ++i)
    sum[i] = (widened(a[i]) + widened(b[i])) + (widened(c[i]) + widened(d[i]));
}

template <typename T>
inline __attribute__((always_inline)) void store_block(const float* sum, T* to, std::size_t count) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < count; ++i) store(to[i], sum[i]);
}

// The clones; templates cannot be cloned.
STINT_VECTOR_CLONES void two(const float* a, const float* b, float* sum, std::size_t count) {
  add_two(a, b, sum, count);
}
STINT_VECTOR_CLONES void two(const Bf16* a, const Bf16* b, float* sum, std::size_t count) {
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
STINT_VECTOR_CLONES void widen(const Bf16* from, float* to, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) to[i] = to_float(from[i]);
}
void widen(const float* from, float* to, std::size_t count) {
  std::copy_n(from, count, to);
}
STINT_VECTOR_CLONES void narrow(const float* sum, Bf16* to, std::size_t count) {
  store_block(sum, to, count);
}
void narrow(const float* sum, float* to, std::size_t count) {
  std::copy_n(sum, count, to);
}

// sum := the tree over `terms`, from element `at` on.
template <typename T>
void sum_block(std::span<const T* const> terms, std::size_t at, std::size_t count, float* sum) {
  switch (terms.size()) {
    case 1:
      return widen(terms[0] + at, sum, count);
    case 2:
      return two(terms[0] + at, terms[1] + at, sum, count);
    case 4:
      return four(terms[0] + at, terms[1] + at, terms[2] + at, terms[3] + at, sum, count);
    default: {
      const std::size_t left = std::bit_floor(terms.size() - 1);
      Block right;
      sum_block(terms.first(left), at, count, sum);
      sum_block(terms.subspan(left), at, count, right.data());
      two(sum, right.data(), sum, count);
    }
  }
}

template <typename T>
void sum_all(std::span<const T* const> terms, std::span<T* const> sums, std::size_t count) {
  Block sum;
  for (std::size_t at = 0; at < count; at += kBlock) {
    const std::size_t length = std::min(kBlock, count - at);
    sum_block(terms, at, length, sum.data());
    for (T* to : sums) narrow(sum.data(), to + at, length);
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
