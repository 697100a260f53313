// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>

#include "operands.h"

namespace stint::model {
namespace {

// In double, one query at a time: the outputs, and the derivatives by q, k and v of sum(out * dout).
struct Plain {
  std::vector<double> out, lse, dqkv;
};

Plain plain_attention(const AttentionShape& s, const Operands& qkv, const Operands& dout) {
  const std::int64_t rows = s.batch * s.length, group = s.heads / s.key_value_heads, n = s.head_size;
  Plain p;
  p.out.resize(static_cast<std::size_t>(rows * s.heads * n));
  p.lse.resize(static_cast<std::size_t>(rows * s.heads));
  p.dqkv.resize(static_cast<std::size_t>(rows * s.row()));
  const auto scale = 1 / std::sqrt(static_cast<double>(n));
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t head = 0; head < s.heads; ++head) {
      const std::int64_t first = row / s.length * s.length, q = row * s.row() + head * n;
      const std::int64_t y = (row * s.heads + head) * n;
      const auto key = [&](std::int64_t t) { return t * s.row() + (s.heads + head / group) * n; };
      const auto value = [&](std::int64_t t) { return key(t) + s.key_value_heads * n; };
      std::vector<double> weight;
      double total = 0;
      for (std::int64_t t = first; t <= row; ++t) {
        double score = 0;
        for (std::int64_t i = 0; i < n; ++i) score += qkv[q + i] * qkv[key(t) + i];
        weight.push_back(std::exp(score * scale));
        total += weight.back();
      }
      p.lse[static_cast<std::size_t>(head * rows + row)] = std::log(total);
      double dot = 0;
      for (std::int64_t t = first; t <= row; ++t) {
        double& w = weight[static_cast<std::size_t>(t - first)];
        w /= total;
        for (std::int64_t i = 0; i < n; ++i) {
          p.out[static_cast<std::size_t>(y + i)] += w * qkv[value(t) + i];
          dot += w * qkv[value(t) + i] * dout[y + i];
        }
      }
      for (std::int64_t t = first; t <= row; ++t) {
        const double w = weight[static_cast<std::size_t>(t - first)];
        double dw = 0;
        for (std::int64_t i = 0; i < n; ++i) {
          dw += qkv[value(t) + i] * dout[y + i];
          p.dqkv[static_cast<std::size_t>(value(t) + i)] += w * dout[y + i];
        }
        const double dscore = w * (dw - dot) * scale;
        for (std::int64_t i = 0; i < n; ++i) {
          p.dqkv[static_cast<std::size_t>(q + i)] += dscore * qkv[key(t) + i];
          p.dqkv[static_cast<std::size_t>(key(t) + i)] += dscore * qkv[q + i];
        }
      }
    }
  return p;
}

struct Found {
  Operands out, dqkv;
  std::vector<float> lse;
  bool operator==(const Found&) const = default;
};

Found run(const Table& table, const AttentionShape& s, Operands qkv, Operands dout, int threads) {
  omp_set_num_threads(threads);
  const std::int64_t rows = s.batch * s.length;
  Found f{Operands(table.operand, rows * s.heads * s.head_size), Operands(table.operand, rows * s.row()),
          std::vector<float>(static_cast<std::size_t>(rows * s.heads))};
  // What is left in scratch from before must not matter.
  std::vector<float> scratch(static_cast<std::size_t>(attention_scratch(s, threads)), std::nanf(""));
  table.ops->attention(qkv.data(), s, f.out.data(), f.lse.data(), scratch.data());
  std::fill(scratch.begin(), scratch.end(), std::nanf(""));
  table.ops->attention_backward(qkv.data(), f.out.data(), dout.data(), f.lse.data(), s, f.dqkv.data(),
                                scratch.data());
  omp_set_num_threads(1);
  return f;
}

Operands inputs(Operand operand, const AttentionShape& s) {
  return {operand, noise(s.batch * s.length * s.row(), 1)};
}
Operands derivatives(Operand operand, const AttentionShape& s) {
  return {operand, noise(s.batch * s.length * s.heads * s.head_size, 2)};
}

double largest_difference(const Operands& found, const std::vector<double>& expected) {
  double difference = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double distance = std::abs(found[static_cast<std::int64_t>(i)] - expected[i]);
    difference = std::max(difference, std::isnan(distance) ? 1e9 : distance);
  }
  return difference;
}

class Attention : public testing::TestWithParam<Table> {};
INSTANTIATE_TEST_SUITE_P(Tables, Attention, testing::ValuesIn(all_tables()), name_of);

TEST_P(Attention, AndItsDerivativeEqualPlainLoops) {
  // Less than a tile, tiles that end with the sequence, one position more, shared keys, odd head sizes.
  for (const AttentionShape& s :
       {AttentionShape{2, 1, 2, 1, 4}, AttentionShape{2, 50, 4, 2, 10}, AttentionShape{1, 128, 2, 2, 64},
        AttentionShape{2, 129, 3, 1, 18}, AttentionShape{1, 200, 2, 1, 80}}) {
    const Operand operand = GetParam().operand;
    const auto qkv = inputs(operand, s), dout = derivatives(operand, s);
    const Found found = run(GetParam(), s, qkv, dout, 1);
    const Plain expected = plain_attention(s, qkv, dout);
    const double tolerance = operand == Operand::kFloat ? 4e-5 : 0.05;
    EXPECT_LT(largest_difference(found.out, expected.out), tolerance) << s.length;
    EXPECT_LT(largest_difference(found.dqkv, expected.dqkv), 2 * tolerance) << s.length;
    const double near = operand == Operand::kFloat ? 2e-5 : 2e-4;
    for (std::size_t i = 0; i < expected.lse.size(); ++i) ASSERT_NEAR(found.lse[i], expected.lse[i], near);
  }
}

class AttentionLoops : public Attention {};
INSTANTIATE_TEST_SUITE_P(Tables, AttentionLoops, testing::ValuesIn(loop_tables()), name_of);

TEST_P(AttentionLoops, BitsDoNotDependOnThreads) {
  const AttentionShape s{2, 130, 4, 2, 16};
  const auto qkv = inputs(GetParam().operand, s), dout = derivatives(GetParam().operand, s);
  EXPECT_TRUE(run(GetParam(), s, qkv, dout, 3) == run(GetParam(), s, qkv, dout, 1));
}

TEST(AttentionScratch, GrowsWithTheLengthNotWithItsSquare) {
  const AttentionShape s{1, 1 << 14, 8, 8, 64};
  AttentionShape twice = s;
  twice.length *= 2;
  EXPECT_LE(attention_scratch(twice, 2), 2 * attention_scratch(s, 2));
  EXPECT_LT(attention_scratch(s, 1), std::int64_t{40} * s.length * s.heads * s.head_size);
}

}  // namespace
}  // namespace stint::model
