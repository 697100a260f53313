// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/random.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

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

void fill_normal(std::span<float> values, std::uint64_t seed, std::string_view name, double stddev) {
  const std::uint64_t key = stream_key(seed, name);
  constexpr double kUnit = 0x1p-53;
  for (std::size_t i = 0; i < values.size(); i += 2) {
    const double u = (static_cast<double>(random_bits(key, i) >> 11) + 1) * kUnit;  // (0, 1]
    const double angle = static_cast<double>(random_bits(key, i + 1) >> 11) * kUnit * 2 * std::numbers::pi;
    const double radius = stddev * std::sqrt(-2 * std::log(u));
    values[i] = static_cast<float>(radius * std::cos(angle));
    if (i + 1 < values.size()) values[i + 1] = static_cast<float>(radius * std::sin(angle));
  }
}

}  // namespace stint::model
