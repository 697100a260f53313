// SPDX-License-Identifier: Apache-2.0
// One task a sequence and query head. All within it is in floats, packed into scratch: keys and values both
// as rows and as tiles whose positions lie side by side. Of a tile on the diagonal, strips of kLanes rows are
// computed as far as the last of them sees; what is above the diagonal within them is set to zero.
#include <omp.h>

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

// Element (i, k) of the left side stands at data[i * row + k * column].
struct Left {
  const float* data;
  std::int64_t row, column;

  Left from(std::int64_t i, std::int64_t k) const { return {data + i * row + k * column, row, column}; }
  Left transposed() const { return {data, column, row}; }
};

// A right side or a result: floats, side by side in a row.
template <typename Float>
struct Rows {
  Float* data;
  std::int64_t row;

  Rows from(std::int64_t i, std::int64_t k) const { return {data + i * row + k, row}; }
};
using Right = Rows<const float>;
using Out = Rows<float>;

// c[kRows, kColumns vectors] = or += a b, in registers from end to end.
template <std::int64_t kRows, std::int64_t kColumns>
inline void block(Left a, Right b, std::int64_t depth, Out c, bool adds) {
  Vector sum[kRows][kColumns];
  for (auto& row : sum)
    for (Vector& v : row) v = Vector{};
  for (std::int64_t k = 0; k < depth; ++k) {
    Vector right[kColumns];
    for (std::int64_t v = 0; v < kColumns; ++v)
      right[v] = *reinterpret_cast<const VectorInMemory*>(b.data + k * b.row + v * kWidth);
    for (std::int64_t r = 0; r < kRows; ++r) {
      const float left = a.data[r * a.row + k * a.column];
      for (std::int64_t v = 0; v < kColumns; ++v) sum[r][v] += left * right[v];
    }
  }
  for (std::int64_t r = 0; r < kRows; ++r)
    for (std::int64_t v = 0; v < kColumns; ++v) {
      VectorInMemory* place = reinterpret_cast<VectorInMemory*>(c.data + r * c.row + v * kWidth);
      *place = adds ? *place + sum[r][v] : sum[r][v];
    }
}

// As many rows at once as keep all registers busy.
template <std::int64_t kColumns>
inline void columns(Left a, Right b, std::int64_t rows, std::int64_t depth, Out c, bool adds) {
  constexpr std::int64_t kRows = kColumns > 2 ? 4 : 8 / kColumns * 2;
  std::int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) block<kRows, kColumns>(a.from(r, 0), b, depth, c.from(r, 0), adds);
  for (; r < rows; ++r) block<1, kColumns>(a.from(r, 0), b, depth, c.from(r, 0), adds);
}

// c[rows, width] = or += a[rows, depth] b[depth, width]; width is a multiple of kLanes.
void product(Left a, Right b, std::int64_t rows, std::int64_t width, std::int64_t depth, Out c, bool adds) {
  std::int64_t i = 0;
  for (; i + kVectors * kWidth <= width; i += kVectors * kWidth)
    columns<kVectors>(a, b.from(0, i), rows, depth, c.from(0, i), adds);
  for (; i + 2 * kWidth <= width; i += 2 * kWidth)
    columns<2>(a, b.from(0, i), rows, depth, c.from(0, i), adds);
  for (; i < width; i += kWidth) columns<1>(a, b.from(0, i), rows, depth, c.from(0, i), adds);
}

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

// Rows of `width` floats, zero beyond the head's size and the sequence's end.
template <typename T>
void pack_rows(const Head& h, const T* in, std::int64_t stride, float* out) {
  for (std::int64_t t = 0; t < h.length; ++t) {
    float* __restrict row = out + t * h.width;
    for (std::int64_t i = 0; i < h.size; ++i) row[i] = load(in[t * stride + i]);
    for (std::int64_t i = h.size; i < h.width; ++i) row[i] = 0;
  }
  for (std::int64_t i = h.length * h.width; i < h.packed(); ++i) out[i] = 0;
}

// [tile][i][position in the tile].
void pack_tiles(const Head& h, const float* rows, float* out) {
  for (std::int64_t tile = 0; tile < h.tiles; ++tile)
    for (std::int64_t i = 0; i < h.width; ++i)
      for (std::int64_t t = 0; t < kTile; ++t)
        out[(tile * h.width + i) * kTile + t] = rows[(tile * kTile + t) * h.width + i];
}

// Of a tile of scores: from which row, how many, and how many columns any of them sees. part(first, rows,
// seen).
template <typename Part>
inline void strips(std::int64_t rows, bool diagonal, Part part) {
  if (!diagonal) return part(0, rows, kTile);
  for (std::int64_t first = 0; first < rows; first += kLanes)
    part(first, smaller(kLanes, rows - first), first + kLanes);
}

// Scores of one row of a tile, of which the first `visible` count, become powers of e, up to the end of its
// strip; their sum. `top` is the largest score so far, before and after.
inline float soften(float* __restrict score, std::int64_t visible, float scale, float& top) {
  const std::int64_t seen = padded(visible, kLanes);
  for (std::int64_t i = visible; i < seen; ++i) score[i] = -3e38f;
  float highest = largest(seen, [=](std::int64_t i) { return score[i]; }) * scale;
  highest = highest > top ? highest : top;
  for (std::int64_t i = 0; i < seen; ++i) score[i] = exponential(score[i] * scale - highest);
  for (std::int64_t i = visible; i < seen; ++i) score[i] = 0;
  top = highest;
  return lane_sum(seen, [=](std::int64_t i) { return score[i]; });
}

struct Forward {
  float *keys, *values, *tiled_keys, *queries, *score, *mixed, *top, *sum;

  Forward(const Head& h, float* scratch) {
    const auto take = [&](std::int64_t floats) {
      float* piece = scratch;
      scratch += floats;
      return piece;
    };
    keys = take(h.packed());
    values = take(h.packed());
    tiled_keys = take(h.packed());
    queries = take(h.packed());
    score = take(kTile * kTile);
    mixed = take(kTile * h.width);
    top = take(kTile);
    sum = take(kTile);
  }
};

void mix_tile(const Head& h, const Forward& f, std::int64_t tile) {
  const std::int64_t rows = h.rows(tile);
  for (std::int64_t r = 0; r < rows; ++r) {
    f.top[r] = -3e38f;
    f.sum[r] = 0;
  }
  for (std::int64_t other = 0; other <= tile; ++other) {
    const bool diagonal = other == tile;
    const Left queries{f.queries + tile * kTile * h.width, h.width, 1}, powers{f.score, kTile, 1};
    const Right keys{f.tiled_keys + other * kTile * h.width, kTile};
    const Right values{f.values + other * kTile * h.width, h.width};
    const Out scores{f.score, kTile}, mixed{f.mixed, h.width};
    strips(rows, diagonal, [&](std::int64_t first, std::int64_t count, std::int64_t seen) {
      product(queries.from(first, 0), keys, count, seen, h.size, scores.from(first, 0), false);
    });
    for (std::int64_t r = 0; r < rows; ++r) {
      const float before = f.top[r];
      const float sum = soften(f.score + r * kTile, diagonal ? r + 1 : kTile, h.scale, f.top[r]);
      if (other == 0) {
        f.sum[r] = sum;
        continue;
      }
      const float fade = exponential(before - f.top[r]);
      f.sum[r] = f.sum[r] * fade + sum;
      for (std::int64_t i = 0; i < h.width; ++i) f.mixed[r * h.width + i] *= fade;
    }
    strips(rows, diagonal, [&](std::int64_t first, std::int64_t count, std::int64_t seen) {
      product(powers.from(first, 0), values, count, h.width, seen, mixed.from(first, 0), other > 0);
    });
  }
}

template <typename T>
void attention(const void* qkv, const AttentionShape& s, void* out, float* lse, float* scratch) {
  const Head h(s);
  const std::int64_t group = s.heads / s.key_value_heads, rows = s.batch * s.length;
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t task = 0; task < s.batch * s.heads; ++task) {
    const std::int64_t sequence = task / s.heads, head = task % s.heads;
    const Forward f(h, scratch + omp_get_thread_num() * attention_thread_scratch(s));
    const T* first = static_cast<const T*>(qkv) + sequence * s.length * s.row();
    const T* key = first + (s.heads + head / group) * h.size;
    pack_rows(h, first + head * h.size, s.row(), f.queries);
    pack_rows(h, key, s.row(), f.keys);
    pack_rows(h, key + s.key_value_heads * h.size, s.row(), f.values);
    pack_tiles(h, f.keys, f.tiled_keys);
    for (std::int64_t tile = 0; tile < h.tiles; ++tile) {
      mix_tile(h, f, tile);
      for (std::int64_t r = 0; r < h.rows(tile); ++r) {
        const std::int64_t row = sequence * s.length + tile * kTile + r;
        T* y = static_cast<T*>(out) + (row * s.heads + head) * h.size;
        const float part = 1.0f / f.sum[r];
        for (std::int64_t i = 0; i < h.size; ++i) store(y[i], f.mixed[r * h.width + i] * part);
        lse[head * rows + row] = f.top[r] + __builtin_logf(f.sum[r]);
      }
    }
  }
}

struct Backward {
  float *keys, *queries, *dmixed, *values, *tiled_keys, *tiled_values, *dqueries, *dots, *power, *dscore;

  Backward(const Head& h, float* scratch) {
    const auto take = [&](std::int64_t floats) {
      float* piece = scratch;
      scratch += floats;
      return piece;
    };
    keys = take(h.packed());
    queries = take(h.packed());
    dmixed = take(h.packed());
    values = take(h.packed());
    tiled_keys = take(h.packed());
    tiled_values = take(h.packed());
    dqueries = take(h.packed());
    dots = take(h.tiles * kTile);
    power = take(kTile * kTile);
    dscore = take(kTile * kTile);
  }
};

// From scores and the derivatives by the softmax's outputs, row by row: the outputs, and the derivatives by
// the scores.
void unsoften(const Head& h, const Backward& f, std::int64_t rows, bool diagonal, const float* lse,
              const float* dots) {
  for (std::int64_t r = 0; r < rows; ++r) {
    float* __restrict power = f.power + r * kTile;
    float* __restrict d = f.dscore + r * kTile;
    const std::int64_t visible = diagonal ? r + 1 : kTile;
    for (std::int64_t i = 0, seen = padded(visible, kLanes); i < seen; ++i) {
      const float p = exponential(power[i] * h.scale - lse[r]);
      power[i] = i < visible ? p : 0.0f;
      d[i] = i < visible ? p * (d[i] - dots[r]) * h.scale : 0.0f;
    }
  }
}

// All that depends on the keys and values of one tile.
void backward_tile(const Head& h, const Backward& f, std::int64_t tile, const float* lse, float* dkeys,
                   float* dvalues) {
  const std::int64_t at = tile * kTile * h.width;
  const Right tiled_keys{f.tiled_keys + at, kTile}, tiled_values{f.tiled_values + at, kTile};
  const Right keys{f.keys + at, h.width};
  const Left power{f.power, kTile, 1}, dscore{f.dscore, kTile, 1};
  const Out powers{f.power, kTile}, dscores{f.dscore, kTile};
  for (std::int64_t other = tile; other < h.tiles; ++other) {
    const std::int64_t rows = h.rows(other), from = other * kTile * h.width;
    const bool diagonal = other == tile;
    const Left query{f.queries + from, h.width, 1}, mixed{f.dmixed + from, h.width, 1};
    const Right queries{f.queries + from, h.width}, dmixed{f.dmixed + from, h.width};
    strips(rows, diagonal, [&](std::int64_t first, std::int64_t count, std::int64_t seen) {
      product(query.from(first, 0), tiled_keys, count, seen, h.size, powers.from(first, 0), false);
      product(mixed.from(first, 0), tiled_values, count, seen, h.size, dscores.from(first, 0), false);
    });
    unsoften(h, f, rows, diagonal, lse + other * kTile, f.dots + other * kTile);
    strips(kTile, diagonal, [&](std::int64_t first, std::int64_t count, std::int64_t) {
      const std::int64_t unseen = diagonal ? smaller(first, rows) : 0;  // queries before these keys
      product(power.from(unseen, first).transposed(), dmixed.from(unseen, 0), count, h.width, rows - unseen,
              {dvalues + at + first * h.width, h.width}, !diagonal);
      product(dscore.from(unseen, first).transposed(), queries.from(unseen, 0), count, h.width, rows - unseen,
              {dkeys + at + first * h.width, h.width}, !diagonal);
    });
    strips(rows, diagonal, [&](std::int64_t first, std::int64_t count, std::int64_t seen) {
      product(dscore.from(first, 0), keys, count, h.width, seen,
              {f.dqueries + from + first * h.width, h.width}, tile > 0);
    });
  }
}

// The sum over the query heads that share a key head, in their order.
template <typename T>
void store_shared(const Head& h, const float* parts, std::int64_t stride, std::int64_t group,
                  std::int64_t out_stride, T* out) {
  for (std::int64_t t = 0; t < h.length; ++t)
    for (std::int64_t i = 0; i < h.size; ++i) {
      float sum = 0;
      for (std::int64_t g = 0; g < group; ++g) sum += parts[g * stride + t * h.width + i];
      store(out[t * out_stride + i], sum);
    }
}

template <typename T>
void attention_backward(const void* qkv, const void* out, const void* dout, const float* lse,
                        const AttentionShape& s, void* dqkv, float* scratch) {
  const Head h(s);
  const std::int64_t group = s.heads / s.key_value_heads, rows = s.batch * s.length, row = s.row();
  const std::int64_t mixed_row = s.heads * h.size;
  float* parts = scratch;  // [sequence, head, dkeys | dvalues]
  float* threads = parts + s.batch * s.heads * 2 * h.packed();
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t task = 0; task < s.batch * s.heads; ++task) {
    const std::int64_t sequence = task / s.heads, head = task % s.heads, first = sequence * s.length;
    const Backward f(h, threads + omp_get_thread_num() * attention_thread_scratch(s));
    const T* query = static_cast<const T*>(qkv) + first * row + head * h.size;
    const T* key = static_cast<const T*>(qkv) + first * row + (s.heads + head / group) * h.size;
    const T* mixed = static_cast<const T*>(out) + first * mixed_row + head * h.size;
    pack_rows(h, query, row, f.queries);
    pack_rows(h, key, row, f.keys);
    pack_rows(h, key + s.key_value_heads * h.size, row, f.values);
    pack_rows(h, static_cast<const T*>(dout) + first * mixed_row + head * h.size, mixed_row, f.dmixed);
    pack_tiles(h, f.keys, f.tiled_keys);
    pack_tiles(h, f.values, f.tiled_values);
    for (std::int64_t t = 0; t < h.length; ++t)
      f.dots[t] = lane_sum(
          h.size, [&](std::int64_t i) { return f.dmixed[t * h.width + i] * load(mixed[t * mixed_row + i]); });
    float* dkeys = parts + task * 2 * h.packed();
    for (std::int64_t tile = 0; tile < h.tiles; ++tile)
      backward_tile(h, f, tile, lse + head * rows + first, dkeys, dkeys + h.packed());
    T* dquery = static_cast<T*>(dqkv) + first * row + head * h.size;
    store_shared(h, f.dqueries, 0, 1, row, dquery);
  }
#pragma omp parallel for schedule(static)
  for (std::int64_t task = 0; task < s.batch * s.key_value_heads; ++task) {
    const std::int64_t sequence = task / s.key_value_heads, shared = task % s.key_value_heads;
    const float* dkeys = parts + (sequence * s.heads + shared * group) * 2 * h.packed();
    T* dkey = static_cast<T*>(dqkv) + sequence * s.length * row + (s.heads + shared) * h.size;
    store_shared(h, dkeys, 2 * h.packed(), group, row, dkey);
    store_shared(h, dkeys + h.packed(), 2 * h.packed(), group, row, dkey + s.key_value_heads * h.size);
  }
}

}  // namespace

template <typename T>
void add_attention(Kernels& table) {
  table.attention = attention<T>;
  table.attention_backward = attention_backward<T>;
}
STINT_FOR_EACH_OPERAND(add_attention);

}  // namespace stint::model::STINT_KERNELS
