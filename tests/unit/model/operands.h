// SPDX-License-Identifier: Apache-2.0
// Vectors of operands and tables of operations, for tests.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "trainer/model/kernels/kernels.h"

namespace stint::model {

struct Table {
  Operand operand;
  const Kernels* ops;
};

// Those that this test program is about.
std::vector<Table> all_tables();

// Those of kernels.h that this processor can run.
inline std::vector<Table> loop_tables() {
  std::vector<Table> tables;
  for (const Operand operand : {Operand::kFloat, Operand::kRounded, Operand::kBf16, Operand::kHalf})
    for (const Kernels* ops : kernels_of(operand)) tables.push_back({operand, ops});
  return tables;
}

inline std::string name_of(const testing::TestParamInfo<Table>& info) {
  const char* operand[] = {"Float", "Rounded", "Bf16", "Half"};
  return std::string(operand[static_cast<std::size_t>(info.param.operand)]) + "_" + info.param.ops->name;
}

// How far a value may be off for having been stored as an operand.
inline double rounding(Operand operand) {
  if (operand == Operand::kHalf) return 0x1p-11;
  return operand == Operand::kFloat ? 2e-6 : 0x1p-8;
}

// Values in [-2, 2), the same each time.
inline std::vector<float> noise(std::int64_t count, unsigned seed) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::uint32_t state = seed * 2654435761U + 1;
  for (float& value : values) {
    state = state * 1664525U + 1013904223U;
    value = static_cast<float>(state >> 8) * 0x1p-22f - 2.0f;
  }
  return values;
}

class Operands {
 public:
  Operands(Operand operand, const std::vector<float>& values)
      : operand_(operand), bytes_(values.size() * bytes_of(operand)) {
    kernels_of(operand).back()->to_operand(values.data(), static_cast<std::int64_t>(values.size()), data());
  }
  Operands(Operand operand, std::int64_t count)
      : operand_(operand), bytes_(static_cast<std::size_t>(count) * bytes_of(operand)) {}

  void* data() { return bytes_.data(); }
  double operator[](std::int64_t index) const {
    const auto at = static_cast<std::size_t>(index);
    if (operand_ == Operand::kBf16) {
      std::uint16_t bits = 0;
      std::memcpy(&bits, bytes_.data() + at * 2, 2);
      return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
    }
    float value = 0;
    std::memcpy(&value, bytes_.data() + at * 4, 4);
    return value;
  }
  std::vector<double> values() const {
    std::vector<double> result;
    for (std::size_t i = 0; i < bytes_.size() / bytes_of(operand_); ++i)
      result.push_back((*this)[static_cast<std::int64_t>(i)]);
    return result;
  }
  bool operator==(const Operands& other) const { return bytes_ == other.bytes_; }

 private:
  Operand operand_;
  std::vector<std::byte> bytes_;
};

}  // namespace stint::model
