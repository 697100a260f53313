// SPDX-License-Identifier: Apache-2.0
// One task a sequence and query head, all of it packed into scratch. Of a tile on the diagonal, strips of
// kLanes rows are computed as far as the last of them sees; what is above the diagonal within them is set to
// zero.
#include <omp.h>

#include "trainer/model/kernels/attention_pack.h"

namespace stint::model::STINT_KERNELS {
namespace {

// Hands out scratch.
class Desk {
 public:
  explicit Desk(float* scratch) : next_(scratch) {}
  template <typename Word = float>
  Word* take(std::int64_t numbers) {
    float* piece = next_;
    next_ += numbers / kDeep<Word>;
    return reinterpret_cast<Word*>(piece);
  }

 private:
  float* next_;
};

typedef float Lanes __attribute__((vector_size(4 * kLanes)));

inline Lanes lanes(const float* from) {
  Lanes values;
  __builtin_memcpy(&values, from, sizeof values);
  return values;
}

// All lanes joined to one, halves with each other.
template <typename Join>
inline float joined(Lanes values, Join join) {
  typedef std::int32_t Places __attribute__((vector_size(4 * kLanes)));
  Places places;
  for (std::int32_t lane = 0; lane < kLanes; ++lane) places[lane] = lane;
  for (std::int32_t half = kLanes / 2; half > 0; half /= 2)
    values = join(values, __builtin_shuffle(values, places ^ half));
  return values[0];
}

inline float largest_of(const float* values, std::int64_t count) {
  const auto join = [](Lanes a, Lanes b) { return a > b ? a : b; };
  Lanes most = lanes(values);
  for (std::int64_t i = kLanes; i < count; i += kLanes) most = join(most, lanes(values + i));
  return joined(most, join);
}

inline float sum_of(const float* values, std::int64_t count) {
  const auto join = [](Lanes a, Lanes b) { return a + b; };
  Lanes sum = lanes(values);
  for (std::int64_t i = kLanes; i < count; i += kLanes) sum = join(sum, lanes(values + i));
  return joined(sum, join);
}

// Where a tile of scores goes as words.
template <typename Word>
Word* words_of(float* tile, Desk& desk) {
  if constexpr (kDeep<Word> == 1)
    return tile;
  else
    return desk.take<Word>(kTile * kTile);
}

template <typename Word>
struct Forward {
  Word *rows, *queries, *tiled_keys, *values, *powers;
  float *score, *mixed, *top, *fade, *sum;

  Forward(const Head& h, float* scratch) {
    Desk desk(scratch);
    rows = desk.take<Word>(h.packed());  // of keys, on their way to tiles
    queries = desk.take<Word>(h.packed());
    tiled_keys = desk.take<Word>(h.packed());
    values = desk.take<Word>(h.packed());
    score = desk.take(kTile * kTile);
    powers = words_of<Word>(score, desk);
    mixed = desk.take(kTile * h.width);
    top = desk.take(kTile);
    fade = desk.take(kTile);
    sum = desk.take(kTile);
  }
};

// Scores become powers of e, zero from the first unseen one to the end of its strip. What was summed up
// before is to fade by as much as the largest score grew.
template <typename Word>
void soften(const Head& h, const Forward<Word>& f, std::int64_t rows, bool diagonal) {
  float* __restrict top = f.top;
  float* __restrict fade = f.fade;
  const auto visible = [&](std::int64_t r) { return diagonal ? r + 1 : kTile; };
  for (std::int64_t r = 0; r < rows; ++r) {
    float* score = f.score + r * kTile;
    const std::int64_t seen = padded(visible(r), kLanes);
    for (std::int64_t i = visible(r); i < seen; ++i) score[i] = -3e38f;
    const float highest = largest_of(score, seen) * h.scale;
    fade[r] = top[r];
    top[r] = highest > top[r] ? highest : top[r];
  }
  for (std::int64_t r = 0; r < rows; ++r) fade[r] = exponential(fade[r] - top[r]);
  for (std::int64_t r = 0; r < rows; ++r) {
    float* __restrict score = f.score + r * kTile;
    const std::int64_t seen = padded(visible(r), kLanes);
    const float scale = h.scale, highest = top[r];
    for (std::int64_t i = 0; i < seen; ++i) score[i] = exponential(score[i] * scale - highest);
    for (std::int64_t i = visible(r); i < seen; ++i) score[i] = 0;
    f.sum[r] = f.sum[r] * fade[r] + sum_of(score, seen);
  }
}

template <typename Word>
void mix_tile(const Head& h, const Forward<Word>& f, std::int64_t tile) {
  constexpr std::int64_t kDepth = kDeep<Word>;
  const std::int64_t rows = h.rows(tile), words = h.width / kDepth;
  for (std::int64_t r = 0; r < rows; ++r) {
    f.top[r] = -3e38f;
    f.sum[r] = 0;
  }
  for (std::int64_t other = 0; other <= tile; ++other) {
    const bool diagonal = other == tile;
    const Left<Word> queries{f.queries + tile * kTile * words, words, 1}, powers{f.powers, kTile / kDepth, 1};
    const Right<Word> keys{f.tiled_keys + other * kTile * words, kTile};
    const Right<Word> values{f.values + other * kTile * words, h.width};
    const Out scores{f.score, kTile}, mixed{f.mixed, h.width};
    strips(rows, diagonal, [&](std::int64_t first, std::int64_t count, std::int64_t seen) {
      product(queries.from(first, 0), keys, count, seen, words, scores.from(first, 0), false);
    });
    soften(h, f, rows, diagonal);
    for (std::int64_t r = 0; other > 0 && r < rows; ++r)
      for (std::int64_t i = 0; i < h.width; ++i) f.mixed[r * h.width + i] *= f.fade[r];
    scores_by_rows(f.score, rows, diagonal, f.powers);
    strips(rows, diagonal, [&](std::int64_t first, std::int64_t count, std::int64_t seen) {
      product(powers.from(first, 0), values, count, h.width, seen / kDepth, mixed.from(first, 0), other > 0);
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
    const Forward<typename WordOf<T>::Type> f(h,
                                              scratch + omp_get_thread_num() * attention_thread_scratch(s));
    const T* first = static_cast<const T*>(qkv) + sequence * s.length * s.row();
    const T* key = first + (s.heads + head / group) * h.size;
    pack_rows(h, key, s.row(), f.rows);
    pack_tiles(h, f.rows, f.tiled_keys);
    pack_rows(h, first + head * h.size, s.row(), f.queries);
    pack_right(h, key + s.key_value_heads * h.size, s.row(), f.values);
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

template <typename Word>
struct Backward {
  Word *rows, *keys, *tiled_keys, *tiled_values, *queries, *right_queries, *dmixed, *right_dmixed;
  float *dqueries, *dots, *power, *dscore;
  Word *right_power, *dscores, *right_dscore;

  Backward(const Head& h, float* scratch) {
    Desk desk(scratch);
    const auto right_of = [&](Word* rows) { return kDeep<Word> == 1 ? rows : desk.take<Word>(h.packed()); };
    rows = desk.take<Word>(h.packed());  // of keys or values, on their way to tiles
    keys = right_of(rows);
    tiled_keys = desk.take<Word>(h.packed());
    tiled_values = desk.take<Word>(h.packed());
    queries = desk.take<Word>(h.packed());
    right_queries = right_of(queries);
    dmixed = desk.take<Word>(h.packed());
    right_dmixed = right_of(dmixed);
    dqueries = desk.take(h.packed());
    dots = desk.take(h.tiles * kTile);
    power = desk.take(kTile * kTile);
    dscore = desk.take(kTile * kTile);
    right_power = words_of<Word>(power, desk);
    dscores = words_of<Word>(dscore, desk);
    right_dscore = words_of<Word>(dscore, desk);
  }
};

// From scores and the derivatives by the softmax's outputs, row by row: the outputs, and the derivatives by
// the scores.
inline void unsoften(const Head& h, std::int64_t rows, bool diagonal, const float* lse, const float* dots,
                     float* powers, float* dscores) {
  for (std::int64_t r = 0; r < rows; ++r) {
    float* __restrict power = powers + r * kTile;
    float* __restrict d = dscores + r * kTile;
    const std::int64_t visible = diagonal ? r + 1 : kTile;
    for (std::int64_t i = 0, seen = padded(visible, kLanes); i < seen; ++i) {
      const float p = exponential(power[i] * h.scale - lse[r]);
      power[i] = i < visible ? p : 0.0f;
      d[i] = i < visible ? p * (d[i] - dots[r]) * h.scale : 0.0f;
    }
  }
}

// All that depends on the keys and values of one tile.
template <typename Word>
void backward_tile(const Head& h, const Backward<Word>& f, std::int64_t tile, const float* lse, float* dkeys,
                   float* dvalues) {
  constexpr std::int64_t kDepth = kDeep<Word>;
  const std::int64_t words = h.width / kDepth, at = tile * kTile * words;
  const Right<Word> tiled_keys{f.tiled_keys + at, kTile}, tiled_values{f.tiled_values + at, kTile};
  const Right<Word> keys{f.keys + at, h.width};
  // Transposed: keys by queries.
  const Left<Word> power{f.right_power, 1, kTile}, right_dscore{f.right_dscore, 1, kTile};
  const Left<Word> dscore{f.dscores, kTile / kDepth, 1};
  for (std::int64_t other = tile; other < h.tiles; ++other) {
    const std::int64_t rows = h.rows(other), from = other * kTile * words;
    const bool diagonal = other == tile;
    const Left<Word> queries{f.queries + from, words, 1}, dmixed{f.dmixed + from, words, 1};
    strips(rows, diagonal, [&](std::int64_t first, std::int64_t count, std::int64_t seen) {
      product(queries.from(first, 0), tiled_keys, count, seen, words, {f.power + first * kTile, kTile},
              false);
      product(dmixed.from(first, 0), tiled_values, count, seen, words, {f.dscore + first * kTile, kTile},
              false);
    });
    unsoften(h, rows, diagonal, lse + other * kTile, f.dots + other * kTile, f.power, f.dscore);
    scores_as_right(f.power, rows, diagonal, f.right_power);
    scores_as_right(f.dscore, rows, diagonal, f.right_dscore);
    scores_by_rows(f.dscore, rows, diagonal, f.dscores);
    const Right<Word> right_queries{f.right_queries + from, h.width},
        right_dmixed{f.right_dmixed + from, h.width};
    strips(kTile, diagonal, [&](std::int64_t first, std::int64_t count, std::int64_t) {
      const std::int64_t unseen = diagonal ? first / kDepth : 0;  // words of queries before these keys
      const std::int64_t depth = (rows + kDepth - 1) / kDepth - unseen, to = (tile * kTile + first) * h.width;
      product(power.from(first, unseen), right_dmixed.from(unseen, 0), count, h.width, depth,
              {dvalues + to, h.width}, !diagonal);
      product(right_dscore.from(first, unseen), right_queries.from(unseen, 0), count, h.width, depth,
              {dkeys + to, h.width}, !diagonal);
    });
    strips(rows, diagonal, [&](std::int64_t first, std::int64_t count, std::int64_t seen) {
      product(dscore.from(first, 0), keys, count, h.width, seen / kDepth,
              {f.dqueries + (other * kTile + first) * h.width, h.width}, tile > 0);
    });
  }
}

template <typename T>
void store_all(const float* __restrict values, std::int64_t count, T* __restrict out) {
  for (std::int64_t i = 0; i < count; ++i) store(out[i], values[i]);
}

// The sum over the query heads that share a key head, in their order.
template <typename T>
void store_shared(const Head& h, const float* parts, std::int64_t stride, std::int64_t group,
                  std::int64_t out_stride, T* out) {
  for (std::int64_t t = 0; t < h.length; ++t)
    for (std::int64_t i = 0; i < h.size; i += kTile) {
      const std::int64_t count = smaller(kTile, h.size - i);
      const float* part = parts + t * h.width + i;
      if (group == 1) {
        store_all(part, count, out + t * out_stride + i);
        continue;
      }
      float sum[kTile];
      for (std::int64_t k = 0; k < count; ++k) sum[k] = part[k];
      for (std::int64_t g = 1; g < group; ++g)
        for (std::int64_t k = 0; k < count; ++k) sum[k] += part[g * stride + k];
      store_all(sum, count, out + t * out_stride + i);
    }
}

template <typename T>
float dot(const T* a, const T* b, std::int64_t size) {
  float sum = 0;
  for (std::int64_t i = 0; i < size; i += kTile) {
    float products[kTile];
    const std::int64_t count = smaller(kTile, size - i), end = padded(count, kLanes);
    for (std::int64_t k = 0; k < count; ++k) products[k] = load(a[i + k]) * load(b[i + k]);
    for (std::int64_t k = count; k < end; ++k) products[k] = 0;
    sum += sum_of(products, end);
  }
  return sum;
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
    using Word = typename WordOf<T>::Type;
    const Backward<Word> f(h, threads + omp_get_thread_num() * attention_thread_scratch(s));
    const T* query = static_cast<const T*>(qkv) + first * row + head * h.size;
    const T* key = static_cast<const T*>(qkv) + first * row + (s.heads + head / group) * h.size;
    const T* mixed = static_cast<const T*>(out) + first * mixed_row + head * h.size;
    const T* dmixed = static_cast<const T*>(dout) + first * mixed_row + head * h.size;
    pack_rows(h, key + s.key_value_heads * h.size, row, f.rows);
    pack_tiles(h, f.rows, f.tiled_values);
    pack_rows(h, key, row, f.rows);
    pack_tiles(h, f.rows, f.tiled_keys);
    pack_rows(h, query, row, f.queries);
    pack_rows(h, dmixed, mixed_row, f.dmixed);
    if constexpr (kDeep < Word >> 1) {
      pack_right(h, key, row, f.keys);
      pack_right(h, query, row, f.right_queries);
      pack_right(h, dmixed, mixed_row, f.right_dmixed);
    }
    for (std::int64_t t = 0; t < h.length; ++t)
      f.dots[t] = dot(dmixed + t * mixed_row, mixed + t * mixed_row, h.size);
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
