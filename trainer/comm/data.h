// SPDX-License-Identifier: Apache-2.0
// The numbers that a collective works on: a view of float or bf16 elements that lie elsewhere.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <ranges>
#include <span>
#include <type_traits>

namespace stint::comm {

// The upper half of a float. Laid out as at::BFloat16 and __nv_bfloat16 are.
struct Bf16 {
  std::uint16_t bits = 0;
};

inline float to_float(Bf16 value) {
  return std::bit_cast<float>(std::uint32_t{value.bits} << 16);
}

// To the nearest, ties to even; a NaN stays one.
inline Bf16 to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const bool is_nan = (bits & 0x7fffffffU) > 0x7f800000U;
  const std::uint32_t rounded = is_nan ? bits | 0x400000U : bits + 0x7fffU + ((bits >> 16) & 1U);
  return {static_cast<std::uint16_t>(rounded >> 16)};
}

enum class Type : std::uint8_t { kFloat, kBf16 };

inline constexpr std::size_t size_of(Type type) {
  return type == Type::kFloat ? sizeof(float) : sizeof(Bf16);
}
inline constexpr const char* name_of(Type type) {
  return type == Type::kFloat ? "fp32" : "bf16";
}

template <typename T>
concept Element = std::same_as<T, float> || std::same_as<T, Bf16>;

// Elements [begin, end).
struct Range {
  std::size_t begin = 0, end = 0;
  std::size_t size() const { return end - begin; }
};

class Data {
 public:
  // Of std::span, std::vector, … of float or Bf16.
  template <std::ranges::contiguous_range Values>
  requires Element<std::remove_reference_t<std::ranges::range_reference_t<Values>>> Data(
      Values&& values)  // NOLINT(bugprone-forwarding-reference-overload): a view is no element
      : begin_(reinterpret_cast<std::byte*>(std::ranges::data(values))),
        count_(std::ranges::size(values)),
        type_(std::same_as<std::ranges::range_value_t<Values>, float> ? Type::kFloat : Type::kBf16) {}

  Type type() const { return type_; }
  std::size_t count() const { return count_; }
  std::span<std::byte> bytes() const { return {begin_, count_ * size_of(type_)}; }
  Data part(Range range) const { return {begin_ + range.begin * size_of(type_), range.size(), type_}; }
  // Only where T is its type.
  template <Element T>
  std::span<T> as() const {
    return {reinterpret_cast<T*>(begin_), count_};
  }

 private:
  Data(std::byte* begin, std::size_t count, Type type) : begin_(begin), count_(count), type_(type) {}

  std::byte* begin_;
  std::size_t count_;
  Type type_;
};

}  // namespace stint::comm
