// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/random.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

namespace stint::model {

std::uint64_t random_bits(std::uint64_t key, std::uint64_t index) {
  std::uint64_t z = key + (index + 1) * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

std::uint64_t stream_key(std::uint64_t seed, std::string_view name) {
  return XXH3_64bits_withSeed(name.data(), name.size(), seed);
}

std::uint64_t random_below(std::uint64_t key, std::uint64_t index, std::uint64_t bound) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((Wide{random_bits(key, index)} * bound) >> 64);
}

namespace {

// One copy for each vector unit, chosen when the program starts; without fused products, so that all have the
// same bits. Only loops in it become vectors, and only without calls and branches: hence the arithmetic by
// hand.
#if defined(__x86_64__)
#define STINT_FOR_EACH_UNIT __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define STINT_FOR_EACH_UNIT
#endif

constexpr std::size_t kPairs = 256;  // in hand at once

// ln x of a normal x > 0, to 1e-7 of it or of 1: 2^n m with m in [sqrt 1/2, sqrt 2), and the series of
// artanh((m - 1) / (m + 1)).
inline float logarithm(float x) {
  const auto bits = std::bit_cast<std::int32_t>(x);
  const std::int32_t n = (bits - 0x3F3504F3) >> 23;
  const float m = std::bit_cast<float>(bits - (n << 23));
  const float s = (m - 1.0f) / (m + 1.0f), t = s * s;
  const float series = 1.0f + t * (1.0f / 3 + t * (1.0f / 5 + t * (1.0f / 7 + t * (1.0f / 9))));
  return static_cast<float>(n) * std::numbers::ln2_v<float> + 2.0f * s * series;
}

// Pairs [first, first + kPairs) of stream `key`: the high half of a number gives the radius, the low half the
// angle, two bits of it the quarter.
STINT_FOR_EACH_UNIT void normal_pairs(std::uint64_t key, std::uint64_t first, float stddev, float* out) {
  std::uint32_t high[kPairs], low[kPairs];
  for (std::size_t i = 0; i < kPairs; ++i) {
    const std::uint64_t bits = random_bits(key, first + i);
    high[i] = static_cast<std::uint32_t>(bits >> 32);
    low[i] = static_cast<std::uint32_t>(bits);
  }
  float x[kPairs], y[kPairs];
  for (std::size_t i = 0; i < kPairs; ++i) {
    const float u = (static_cast<float>(high[i]) + 1.0f) * 0x1p-32f;  // (0, 1]
    const float radius = stddev * std::sqrt(-2.0f * logarithm(u));
    const float angle =  // within an eighth of the circle, to either side
        static_cast<float>(static_cast<std::int32_t>(low[i] << 2)) * (0x1p-33f * std::numbers::pi_v<float>);
    const float t = angle * angle;
    const float sine =
        angle * (1.0f - t * (1.0f / 6 - t * (1.0f / 120 - t * (1.0f / 5040 - t * (1.0f / 362880)))));
    const float cosine =
        1.0f -
        t * (1.0f / 2 - t * (1.0f / 24 - t * (1.0f / 720 - t * (1.0f / 40320 - t * (1.0f / 3628800)))));
    const bool across = (low[i] >> 30 & 1) != 0;
    const float sign = (low[i] >> 31) != 0 ? -radius : radius;
    x[i] = sign * (across ? -sine : cosine);
    y[i] = sign * (across ? cosine : sine);
  }
  for (std::size_t i = 0; i < kPairs; ++i) {
    out[2 * i] = x[i];
    out[2 * i + 1] = y[i];
  }
}

}  // namespace

void fill_normal(std::span<float> values, std::uint64_t seed, std::string_view name, double stddev) {
  const std::uint64_t key = stream_key(seed, name);
  for (std::size_t i = 0; i < values.size(); i += 2 * kPairs) {
    float pairs[2 * kPairs];
    normal_pairs(key, i / 2, static_cast<float>(stddev), pairs);
    std::copy_n(pairs, std::min(2 * kPairs, values.size() - i),
                values.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

}  // namespace stint::model
