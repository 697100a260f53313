// SPDX-License-Identifier: Apache-2.0
// What attention's products read, packed into scratch: a matrix by rows, of words along its columns; as
// `right`, of words along its rows (with a float a word both are the same); or as tiles, whose positions lie
// side by side.
#pragma once

#include "trainer/model/kernels/attention_product.h"

namespace stint::model::STINT_KERNELS {
namespace {

// One head of one sequence, and the sizes that all steps need.
struct Head {
  std::int64_t length, size, width, tiles;  // width: size padded to kLanes
  float scale;

  explicit Head(const AttentionShape& s)
      : length(s.length),
        size(s.head_size),
        width(padded(s.head_size, kLanes)),
        tiles(padded(s.length, kTile) / kTile),
        scale(1.0f / __builtin_sqrtf(static_cast<float>(s.head_size))) {}
  std::int64_t packed() const { return tiles * kTile * width; }
  std::int64_t rows(std::int64_t tile) const { return smaller(kTile, length - tile * kTile); }
};

// [position, h.width], zero beyond the head's size and the sequence's end.
template <typename T>
void pack_rows(const Head& h, const T* in, std::int64_t stride, float* out) {
  for (std::int64_t t = 0; t < h.length; ++t) {
    float* __restrict row = out + t * h.width;
    for (std::int64_t i = 0; i < h.size; ++i) row[i] = load(in[t * stride + i]);
    for (std::int64_t i = h.size; i < h.width; ++i) row[i] = 0;
  }
  for (std::int64_t i = h.length * h.width; i < h.packed(); ++i) out[i] = 0;
}

// The same with words along the positions.
template <typename T>
void pack_right(const Head& h, const T* in, std::int64_t stride, float* out) {
  pack_rows(h, in, stride, out);
}

// Of a tile of scores: from which row, how many, and how many columns any of them sees. part(first, rows,
// seen).
template <typename Part>
inline void strips(std::int64_t rows, bool diagonal, Part part) {
  if (!diagonal) return part(0, rows, kTile);
  for (std::int64_t first = 0; first < rows; first += kLanes)
    part(first, smaller(kLanes, rows - first), first + kLanes);
}

// A tile of scores by rows and as `right`: itself, where a word is a float.
inline void scores_by_rows(const float*, std::int64_t, bool, float*) {}
inline void scores_as_right(const float*, std::int64_t, bool, float*) {}

#if defined(__AVX512BF16__)
typedef std::uint16_t Halves __attribute__((vector_size(2 * kLanes)));
typedef Halves HalvesInMemory __attribute__((aligned(2), may_alias));
typedef std::uint32_t Words __attribute__((vector_size(4 * kLanes)));

// kLanes floats in bf16.
inline Halves halves(const float* values) {
  return reinterpret_cast<Halves>(_mm512_cvtneps_pbh(_mm512_loadu_ps(values)));
}

// kLanes numbers, zero from `count` on.
inline Halves halves(const Bf16* from, std::int64_t count) {
  if (count >= kLanes) return *reinterpret_cast<const HalvesInMemory*>(from);
  Halves values{};
  for (std::int64_t i = 0; i < count; ++i) values[i] = from[i].bits;
  return values;
}

inline void store_words(Pair* to, Halves low, Halves high) {
  const Words words = __builtin_convertvector(low, Words) | __builtin_convertvector(high, Words) << 16;
  __builtin_memcpy(to, &words, sizeof words);
}

inline void pack_rows(const Head& h, const Bf16* in, std::int64_t stride, Pair* out) {
  for (std::int64_t t = 0, end = h.tiles * kTile; t < end; ++t)
    for (std::int64_t i = 0, width = h.width; i < width; i += kLanes) {
      const Halves row = halves(in + t * stride + i, t < h.length ? h.size - i : 0);
      __builtin_memcpy(out + (t * width + i) / 2, &row, sizeof row);
    }
}

inline void pack_right(const Head& h, const Bf16* in, std::int64_t stride, Pair* out) {
  for (std::int64_t t = 0, end = h.tiles * kTile; t < end; t += 2)
    for (std::int64_t i = 0, width = h.width; i < width; i += kLanes) {
      const Bf16* at = in + t * stride + i;
      store_words(out + t / 2 * width + i, halves(at, t < h.length ? h.size - i : 0),
                  halves(at + stride, t + 1 < h.length ? h.size - i : 0));
    }
}

inline void scores_by_rows(const float* tile, std::int64_t rows, bool diagonal, Pair* out) {
  strips(rows, diagonal, [&](std::int64_t first, std::int64_t count, std::int64_t seen) {
    for (std::int64_t r = first; r < first + count; ++r)
      for (std::int64_t i = 0; i < seen; i += kLanes) {
        const Halves row = halves(tile + r * kTile + i);
        __builtin_memcpy(out + (r * kTile + i) / 2, &row, sizeof row);
      }
  });
}

inline void scores_as_right(const float* tile, std::int64_t rows, bool diagonal, Pair* out) {
  strips(rows, diagonal, [&](std::int64_t first, std::int64_t count, std::int64_t seen) {
    for (std::int64_t r = first; r < first + count; r += 2)
      for (std::int64_t i = 0; i < seen; i += kLanes) {
        const float* at = tile + r * kTile + i;
        store_words(out + r / 2 * kTile + i, halves(at), r + 1 < rows ? halves(at + kTile) : Halves{});
      }
  });
}
#endif

// Words [tile][i][position in the tile].
template <typename Word>
void pack_tiles(const Head& h, const Word* rows, Word* out) {
  const std::int64_t words = h.width / kDeep<Word>;
  for (std::int64_t tile = 0; tile < h.tiles; ++tile)
    for (std::int64_t i = 0; i < words; ++i)
      for (std::int64_t t = 0; t < kTile; ++t)
        out[(tile * words + i) * kTile + t] = rows[(tile * kTile + t) * words + i];
}

}  // namespace
}  // namespace stint::model::STINT_KERNELS
