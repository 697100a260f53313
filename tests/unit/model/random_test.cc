// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/random.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <numbers>
#include <vector>

namespace stint::model {
namespace {

TEST(Random, BitsAreThoseOfSplitMix64) {
  // The generator's published outputs for seed 1234567.
  EXPECT_EQ(random_bits(1234567, 0), 6457827717110365317ULL);
  EXPECT_EQ(random_bits(1234567, 1), 3203168211198807973ULL);
}

TEST(Random, NormalValuesDependOnSeedAndNameOnly) {
  std::vector<float> a(1001), b(1001), shorter(7), other(1001);
  fill_normal(a, 1, "x", 0.02);
  fill_normal(b, 1, "x", 0.02);
  fill_normal(shorter, 1, "x", 0.02);
  fill_normal(other, 1, "y", 0.02);
  EXPECT_EQ(a, b);
  EXPECT_TRUE(std::equal(shorter.begin(), shorter.end(), a.begin()));
  EXPECT_NE(a, other);
  fill_normal(other, 2, "x", 0.02);
  EXPECT_NE(a, other);
}

TEST(Random, NormalValuesAreThoseOfBoxAndMuller) {
  constexpr std::size_t kCount = 100'000;
  std::vector<float> values(kCount);
  fill_normal(values, 3, "w", 1);
  for (std::size_t i = 0; i < kCount; i += 2) {
    const std::uint64_t bits = random_bits(stream_key(3, "w"), i / 2);
    const double radius = std::sqrt(-2 * std::log((static_cast<double>(bits >> 32) + 1) * 0x1p-32));
    const auto low = static_cast<std::uint32_t>(bits);
    const double turn =
        static_cast<double>(low >> 30) + static_cast<double>(static_cast<std::int32_t>(low << 2)) * 0x1p-32;
    const double x = radius * std::cos(turn * std::numbers::pi / 2),
                 y = radius * std::sin(turn * std::numbers::pi / 2);
    // Close to 1, a float holds the first uniform number to 2^-24 only.
    ASSERT_NEAR(values[i], x, 1e-6 + 3e-7 / (radius + 3e-4)) << i;
    ASSERT_NEAR(values[i + 1], y, 1e-6 + 3e-7 / (radius + 3e-4)) << i;
  }
}

// Whatever the processor's vector units.
TEST(Random, NormalValuesHaveTheSameBitsEverywhere) {
  std::vector<float> values(100'000);
  fill_normal(values, 1, "x", 0.02);
  std::uint64_t hash = 0;
  for (const float value : values) hash = hash * 31 + std::bit_cast<std::uint32_t>(value);
  EXPECT_EQ(hash, 2973965781098781481ULL);
}

TEST(Random, NormalValuesHaveTheirMoments) {
  constexpr std::size_t kCount = 200'000;
  std::vector<float> values(kCount);
  fill_normal(values, 7, "w", 2);
  double mean = 0, square = 0, fourth = 0;
  for (double v : values) {
    mean += v / kCount;
    square += v * v / kCount;
    fourth += v * v * v * v / kCount;
  }
  EXPECT_NEAR(mean, 0, 0.02);
  EXPECT_NEAR(square, 4, 0.06);
  EXPECT_NEAR(fourth / (square * square), 3, 0.06);
}

TEST(Random, BelowFillsItsRangeEvenly) {
  std::vector<int> hits(10);
  for (std::uint64_t i = 0; i < 100'000; ++i) ++hits.at(random_below(3, i, 10));
  for (int h : hits) EXPECT_NEAR(h, 10'000, 400);
}

}  // namespace
}  // namespace stint::model
