// SPDX-License-Identifier: Apache-2.0
// What the kernels share. Included by their sources only, which are compiled once a vector unit, each time
// into a namespace of its own (STINT_KERNELS); so nothing here may come from an inline function of the
// standard library, whose copies the linker would mix.
#pragma once

#include "trainer/model/kernels/kernels.h"
#include "trainer/model/kernels/tiles.h"

namespace stint::model::STINT_KERNELS {

struct Bf16 {
  std::uint16_t bits;
};
struct Rounded {
  float value;
};
struct Half {
  float value;
};

// To the nearest, ties to even; what is not a number stays so.
inline std::uint32_t rounded_bits(float value) {
  const auto bits = __builtin_bit_cast(std::uint32_t, value);
  const std::uint32_t rounded = bits + 0x7FFF + (bits >> 16 & 1);
  return value == value ? rounded : bits | 0x400000;
}

inline float load(float value) {
  return value;
}
inline float load(Rounded value) {
  return __builtin_bit_cast(float, rounded_bits(value.value) & 0xFFFF0000);
}
inline float load(Bf16 value) {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(value.bits) << 16);
}
// To the nearest fp16, ties to even: 11 digits from 2^-14 on, below it multiples of 2^-24; from 65520 on
// infinite. Without branches.
inline float rounded_to_half(float value) {
  constexpr float kStep = 0.75f;  // floats beside it are 2^-24 apart
  const auto bits = __builtin_bit_cast(std::uint32_t, value);
  const std::uint32_t size = bits & 0x7FFFFFFF, sign = bits & 0x80000000;
  std::uint32_t rounded = (size + 0xFFF + (size >> 13 & 1)) & 0xFFFFE000;
  rounded = rounded > 0x477FE000 ? 0x7F800000 : rounded;
  rounded = value == value ? rounded : size;
  const float small = (value + kStep) - kStep;
  return size < 0x38800000 ? small : __builtin_bit_cast(float, sign | rounded);
}
inline float load(Half value) {
  return rounded_to_half(value.value);
}
inline void store(float& place, float value) {
  place = value;
}
inline void store(Rounded& place, float value) {
  place.value = load(Rounded{value});
}
inline void store(Half& place, float value) {
  place.value = rounded_to_half(value);
}
inline void store(Bf16& place, float value) {
  place.bits = static_cast<std::uint16_t>(rounded_bits(value) >> 16);
}

inline std::int64_t smaller(std::int64_t a, std::int64_t b) {
  return a < b ? a : b;
}

// e^x for x in [-87, 88], which x is brought into: 2^n e^r with |r| <= ln 2 / 2, and Taylor's polynomial for
// e^r, whose error is below 6e-9. Without branches, so that loops over it become vectors.
inline float exponential(float x) {
  constexpr float kRounder = 0x1.8p23f;  // brings a float to a whole number when added and taken away again
  constexpr float kLn2High = 0x1.63p-1f, kLn2Low = -0x1.bd0106p-13f;  // n * kLn2High is exact
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float n = (x * 0x1.715476p0f + kRounder) - kRounder;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float y = 1.0f / 5040;
  y = y * r + 1.0f / 720;
  y = y * r + 1.0f / 120;
  y = y * r + 1.0f / 24;
  y = y * r + 1.0f / 6;
  y = y * r + 0.5f;
  y = y * r + 1.0f;
  y = y * r + 1.0f;
  return y * __builtin_bit_cast(float, (static_cast<std::int32_t>(n) + 127) << 23);
}

// Sum of term(i), i in [0, count), in an order that depends on `count` alone.
template <typename Term>
inline float lane_sum(std::int64_t count, Term term) {
  float lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (std::int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  for (std::int64_t lane = 0, rest = count - i; lane < rest; ++lane) lanes[lane] += term(i + lane);
  double sum = 0;
  for (const float lane : lanes) sum += static_cast<double>(lane);
  return static_cast<float>(sum);
}

// Largest term(i), i in [0, count), count > 0.
template <typename Term>
inline float largest(std::int64_t count, Term term) {
  float lanes[kLanes];
  for (float& lane : lanes) lane = term(0);
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const float value = term(i + lane);
      lanes[lane] = lanes[lane] > value ? lanes[lane] : value;
    }
  float result = lanes[0];
  for (; i < count; ++i) result = result > term(i) ? result : term(i);
  for (const float lane : lanes) result = result > lane ? result : lane;
  return result;
}

// Each file's part of the table.
template <typename T>
void add_rows(Kernels& table);  // conversions, gather, scatter
template <typename T>
void add_norm(Kernels& table);
template <typename T>
void add_rotary(Kernels& table);
template <typename T>
void add_attention(Kernels& table);
template <typename T>
void add_swiglu(Kernels& table);
template <typename T>
void add_cross_entropy(Kernels& table);
template <typename T>
void add_update(Kernels& table);

}  // namespace stint::model::STINT_KERNELS

// At the end of each such file.
#define STINT_FOR_EACH_OPERAND(part)     \
  template void part<float>(Kernels&);   \
  template void part<Rounded>(Kernels&); \
  template void part<Half>(Kernels&);    \
  template void part<Bf16>(Kernels&)
