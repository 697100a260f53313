// SPDX-License-Identifier: Apache-2.0
// Each operation but attention, for each type of operand and vector unit, beside its formula in double.
#include "trainer/model/kernels/kernels.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <limits>

#include "operands.h"

namespace stint::model {
namespace {

// Neither a multiple of the lanes nor of the blocks.
constexpr std::int64_t kRows = 71, kWidth = 53;

class Kernel : public testing::TestWithParam<Table> {
 protected:
  Operand operand() const { return GetParam().operand; }
  const Kernels& ops() const { return *GetParam().ops; }
};
INSTANTIATE_TEST_SUITE_P(Tables, Kernel, testing::ValuesIn(all_tables()), name_of);

// IEEE 754 binary16: 11 digits, exponents from -14 to 15, and below them multiples of 2^-24.
double nearest_half(double x) {
  if (std::abs(x) >= 65520) return std::copysign(std::numeric_limits<double>::infinity(), x);
  const double unit = std::ldexp(1.0, std::max(x == 0 ? -14 : std::ilogb(x), -14) - 10);
  return std::nearbyint(x / unit) * unit;
}

TEST(Kernels, HalvesAreThoseOfIeee754) {
  std::vector<float> values{1 + 0x1p-11f, 1 + 0x3p-11f, 65504.0f,   65519.996f, 65520.0f,
                            -65520.0f,    0x1p-25f,     0x1.8p-25f, -0x1p-14f,  0x1.ffcp-15f,
                            1e-30f,       0.0f,         3e38f};
  for (std::uint32_t bits = 0; bits < 0xFF800000U; bits += 49999)
    if (std::isfinite(std::bit_cast<float>(bits))) values.push_back(std::bit_cast<float>(bits));
  for (const Kernels* ops : kernels_of(Operand::kHalf)) {
    std::vector<float> found(values.size());
    ops->to_operand(values.data(), static_cast<std::int64_t>(values.size()), found.data());
    for (std::size_t i = 0; i < values.size(); ++i)
      ASSERT_EQ(found[i], nearest_half(values[i])) << ops->name << " " << std::hexfloat << values[i];
  }
}

TEST_P(Kernel, OperandsAreRoundedToTheNearestEven) {
  if (operand() == Operand::kHalf) {
    Operands found(operand(), std::vector<float>{1 + 0x1p-11f, 1 + 0x3p-11f, -3e38f});
    std::vector<float> loaded(3);
    ops().add(found.data(), 3, loaded.data());
    EXPECT_EQ(loaded, (std::vector<float>{1, 1 + 0x2p-10f, -std::numeric_limits<float>::infinity()}));
    return;
  }
  const std::vector<float> values{1.0f,         1 + 0x1p-8f, 1 + 0x3p-8f, 1 + 0x1.1p-8f,
                                  -1 - 0x3p-8f, 0.0f,        3e38f,       1e-30f};
  const Operands found(operand(), values);
  if (operand() == Operand::kFloat) {
    EXPECT_EQ(found.values(), std::vector<double>(values.begin(), values.end()));
    return;
  }
  EXPECT_EQ(found[1], 1);
  EXPECT_EQ(found[2], 1 + 0x4p-8);
  EXPECT_EQ(found[3], 1 + 0x2p-8);
  EXPECT_EQ(found[4], -1 - 0x4p-8);
  EXPECT_NEAR(found[6], 3e38, 3e38 / 256);
  EXPECT_NEAR(found[7], 1e-30, 1e-30 / 256);
}

TEST_P(Kernel, OperandsBecomeFloatsOrAreAddedToThem) {
  constexpr std::int64_t kCount = 40'001;
  Operands operands(operand(), noise(kCount, 19));
  std::vector<float> floats(kCount, std::nanf(""));
  ops().to_floats(operands.data(), kCount, floats.data());
  for (std::int64_t i = 0; i < kCount; ++i) ASSERT_EQ(floats[static_cast<std::size_t>(i)], operands[i]) << i;
  std::fill(floats.begin(), floats.end(), 0.5f);
  ops().add(operands.data(), kCount, floats.data());
  for (std::int64_t i = 0; i < kCount; ++i)
    ASSERT_EQ(floats[static_cast<std::size_t>(i)], 0.5f + static_cast<float>(operands[i])) << i;
}

TEST_P(Kernel, WhatIsNotFiniteStaysSo) {
  const float all_ones = std::bit_cast<float>(0x7FFFFFFFU);
  const Operands found(operand(),
                       {std::nanf(""), all_ones, -all_ones, std::numeric_limits<float>::infinity()});
  for (int i : {0, 1, 2}) EXPECT_TRUE(std::isnan(found[i])) << i;
  EXPECT_TRUE(std::isinf(found[3]));
}

TEST_P(Kernel, AddsAndScattersInPlace) {
  auto y = noise(kRows * kWidth, 1);
  const auto before = y, in = noise(kRows * kWidth, 2);
  Operands x(operand(), in);
  ops().add(x.data(), kRows * kWidth, y.data());
  for (std::int64_t i = 0; i < kRows * kWidth; ++i)
    ASSERT_EQ(y[static_cast<std::size_t>(i)], before[static_cast<std::size_t>(i)] + static_cast<float>(x[i]));

  std::vector<std::int64_t> index;
  for (std::int64_t r = 0; r < kRows; ++r) index.push_back(r * r % 7);
  std::vector<float> table(7 * kWidth), sums(7 * kWidth), out(kRows * kWidth);
  ops().scatter_add(in.data(), index.data(), kRows, kWidth, table.data());
  for (std::size_t r = 0; r < kRows; ++r)
    for (std::size_t i = 0; i < kWidth; ++i)
      sums[static_cast<std::size_t>(index[r]) * kWidth + i] += in[r * kWidth + i];
  EXPECT_EQ(table, sums);
  Operands rows(operand(), table);
  ops().gather(rows.data(), index.data(), kRows, kWidth, out.data());
  for (std::size_t r = 0; r < kRows; ++r)
    for (std::size_t i = 0; i < kWidth; ++i)
      ASSERT_EQ(out[r * kWidth + i],
                static_cast<float>(rows[index[r] * kWidth + static_cast<std::int64_t>(i)]));
}

// Plain RMSNorm of one row in double.
std::vector<double> norm_of(const float* x, const std::vector<float>& weight, double eps) {
  double squares = 0;
  for (std::int64_t i = 0; i < kWidth; ++i) squares += static_cast<double>(x[i]) * x[i];
  std::vector<double> y;
  for (std::int64_t i = 0; i < kWidth; ++i)
    y.push_back(x[i] / std::sqrt(squares / kWidth + eps) * weight[static_cast<std::size_t>(i)]);
  return y;
}

TEST_P(Kernel, RmsNormAddsFirst) {
  const auto x = noise(kRows * kWidth, 1), weight = noise(kWidth, 2);
  Operands delta(operand(), noise(kRows * kWidth, 3)), out(operand(), kRows * kWidth), again = out;
  std::vector<float> sum(x.size()), scale(kRows);
  ops().rms_norm(x.data(), delta.data(), weight.data(), 1e-3f, kRows, kWidth, sum.data(), scale.data(),
                 out.data());
  for (std::int64_t r = 0; r < kRows; ++r) {
    const auto expected = norm_of(sum.data() + r * kWidth, weight, 1e-3);
    for (std::int64_t i = r * kWidth; i < (r + 1) * kWidth; ++i) {
      ASSERT_EQ(sum[static_cast<std::size_t>(i)],
                x[static_cast<std::size_t>(i)] + static_cast<float>(delta[i]));
      const double y = expected[static_cast<std::size_t>(i - r * kWidth)];
      ASSERT_NEAR(out[i], y, rounding(operand()) * (1 + std::abs(y)));
    }
  }
  ops().scale_rows(sum.data(), scale.data(), weight.data(), kRows, kWidth, again.data());
  EXPECT_TRUE(again == out);
}

TEST_P(Kernel, RmsNormsDerivativeIsThatOfTheFormula) {
  const auto x = noise(kRows * kWidth, 1), weight = noise(kWidth, 2);
  Operands dy(operand(), noise(kRows * kWidth, 3)), copy(operand(), kRows * kWidth), out = copy;
  std::vector<float> scale(kRows), dx(x.size(), 1.0f), dweight(kWidth, 2.0f);
  std::vector<float> scratch(static_cast<std::size_t>(rms_norm_scratch(kRows, kWidth)));
  ops().rms_norm(x.data(), nullptr, weight.data(), 1e-3f, kRows, kWidth, nullptr, scale.data(), out.data());
  ops().rms_norm_backward(dy.data(), x.data(), scale.data(), weight.data(), kRows, kWidth, dx.data(),
                          dweight.data(), copy.data(), scratch.data());
  std::vector<double> expected_weight(kWidth, 2.0);
  for (std::int64_t r = 0; r < kRows; ++r) {
    const double s = scale[static_cast<std::size_t>(r)];
    double dot = 0;
    for (std::int64_t i = 0; i < kWidth; ++i) {
      const auto at = static_cast<std::size_t>(r * kWidth + i);
      dot += dy[r * kWidth + i] * weight[static_cast<std::size_t>(i)] * x[at];
      expected_weight[static_cast<std::size_t>(i)] += dy[r * kWidth + i] * x[at] * s;
    }
    for (std::int64_t i = 0; i < kWidth; ++i) {
      const auto at = static_cast<std::size_t>(r * kWidth + i);
      const double d =
          1 + s * weight[static_cast<std::size_t>(i)] * dy[r * kWidth + i] - x[at] * s * s * s / kWidth * dot;
      ASSERT_NEAR(dx[at], d, 1e-5) << r << " " << i;
      ASSERT_NEAR(copy[r * kWidth + i], d, rounding(operand()) * (1 + std::abs(d)) + 1e-5);
    }
  }
  for (std::size_t i = 0; i < kWidth; ++i) ASSERT_NEAR(dweight[i], expected_weight[i], 1e-4);
}

TEST_P(Kernel, RotationTurnsPairsOfQueriesAndKeysAndBack) {
  const AttentionShape shape{2, 5, 3, 1, 10};
  const std::int64_t rows = 10, row = shape.row(), half = 5;
  const auto values = noise(rows * row, 4);
  std::vector<float> cosine, sine;
  for (std::int64_t i = 0; i < 5 * half; ++i) {
    cosine.push_back(std::cos(static_cast<float>(i)));
    sine.push_back(std::sin(static_cast<float>(i)));
  }
  const Operands before(operand(), values);
  Operands x = before;
  ops().rotate(x.data(), shape, cosine.data(), sine.data(), 1);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t head = 0; head < 5; ++head)
      for (std::int64_t i = 0; i < half; ++i) {
        const std::int64_t low = r * row + head * 10 + i, angle = r % 5 * half + i;
        const double a = before[low], b = before[low + half];
        const double turn = head < 4 ? static_cast<double>(angle) : 0;
        ASSERT_NEAR(x[low], a * std::cos(turn) - b * std::sin(turn), 3 * rounding(operand()));
        ASSERT_NEAR(x[low + half], b * std::cos(turn) + a * std::sin(turn), 3 * rounding(operand()));
      }
  ops().rotate(x.data(), shape, cosine.data(), sine.data(), -1);
  for (std::int64_t i = 0; i < rows * row; ++i) ASSERT_NEAR(x[i], before[i], 6 * rounding(operand()));
}

TEST_P(Kernel, SwigluAndItsDerivativeAreThoseOfTheFormula) {
  auto values = noise(kRows * 2 * kWidth, 5);
  for (float& value : values) value *= 8;
  values[3] = -200;  // a sigmoid of nothing
  values[4] = 200;
  const Operands before(operand(), values), dy(operand(), noise(kRows * kWidth, 6));
  Operands gate_up = before, out(operand(), kRows * kWidth), both = dy;
  ops().swiglu(gate_up.data(), kRows, kWidth, out.data());
  ops().swiglu_backward(gate_up.data(), both.data(), kRows, kWidth);
  EXPECT_TRUE(both == out);
  for (std::int64_t r = 0; r < kRows; ++r)
    for (std::int64_t i = 0; i < kWidth; ++i) {
      const std::int64_t at = r * 2 * kWidth + i, y = r * kWidth + i;
      const double g = before[at], u = before[at + kWidth], s = 1 / (1 + std::exp(-g));
      const auto near = [&](double found, double expected) {
        ASSERT_NEAR(found, expected, rounding(operand()) * (std::abs(expected) + 0.1)) << g << " " << u;
      };
      near(out[y], g * s * u);
      near(gate_up[at + kWidth], dy[y] * g * s);
      near(gate_up[at], dy[y] * u * s * (1 + g * (1 - s)));
    }
}

TEST_P(Kernel, CrossEntropyAndItsDerivativeAreThoseOfTheFormula) {
  auto values = noise(kRows * kWidth, 7);
  for (float& value : values) value *= 20;
  const Operands before(operand(), values);
  Operands logits = before;
  std::vector<std::int64_t> target;
  for (std::int64_t r = 0; r < kRows; ++r) target.push_back(r * 11 % kWidth);
  std::vector<double> losses(kRows), alone(kRows);
  std::vector<float> scratch(kWidth * static_cast<std::size_t>(omp_get_max_threads()));
  ops().cross_entropy(logits.data(), target.data(), kRows, kWidth, 0, alone.data(), scratch.data());
  EXPECT_TRUE(logits == before);
  ops().cross_entropy(logits.data(), target.data(), kRows, kWidth, 0.5f, losses.data(), scratch.data());
  EXPECT_EQ(alone, losses);
  for (std::int64_t r = 0; r < kRows; ++r) {
    double total = 0;
    const std::int64_t wanted = target[static_cast<std::size_t>(r)];
    for (std::int64_t i = 0; i < kWidth; ++i) total += std::exp(before[r * kWidth + i]);
    const double loss = std::log(total) - before[r * kWidth + wanted];
    ASSERT_NEAR(losses[static_cast<std::size_t>(r)], loss, 1e-5 * (1 + loss));
    for (std::int64_t i = 0; i < kWidth; ++i) {
      const double d = 0.5 * (std::exp(before[r * kWidth + i]) / total - (i == wanted ? 1 : 0));
      ASSERT_NEAR(logits[r * kWidth + i], d, rounding(operand()));
    }
  }
}

TEST_P(Kernel, SumsOfSquaresAreThoseInDoubleTileByTile) {
  const std::int64_t count = 2 * kSumTile + 1234;
  const auto values = noise(count, 14);
  std::vector<double> sums(3);
  ops().sums_of_squares(values.data(), count, sums.data());
  for (std::int64_t tile = 0; tile < 3; ++tile) {
    double sum = 0;
    for (std::int64_t i = tile * kSumTile; i < std::min((tile + 1) * kSumTile, count); ++i)
      sum += static_cast<double>(values[static_cast<std::size_t>(i)]) * values[static_cast<std::size_t>(i)];
    EXPECT_NEAR(sums[static_cast<std::size_t>(tile)], sum, 1e-12 * sum) << tile;
  }
  // How many others there are does not matter.
  double alone = 0;
  ops().sums_of_squares(values.data() + 2 * kSumTile, 1234, &alone);
  EXPECT_EQ(alone, sums[2]);
}

TEST_P(Kernel, AdamWIsItsFormulaAndRoundsWhatItWrites) {
  constexpr std::int64_t kCount = 70'001;
  const AdamWScalars s{0.99f, 0.5f, 0.9f, 0.1f, 0.95f, 0.05f, 0.01f, 1.5f, 1e-3f};
  auto p = noise(kCount, 15), m = noise(kCount, 16), v = noise(kCount, 17);
  for (float& value : v) value = value * value;
  const auto gradient = noise(kCount, 18), p0 = p, m0 = m, v0 = v;
  Operands rounded(operand(), kCount);
  ops().adamw(s, kCount, p.data(), gradient.data(), m.data(), v.data(), rounded.data());
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double g = 0.5 * gradient[i], moment = 0.9 * m0[i] + 0.1 * g, square = 0.95 * v0[i] + 0.05 * g * g;
    ASSERT_NEAR(m[i], moment, 1e-6);
    ASSERT_NEAR(v[i], square, 1e-6);
    ASSERT_NEAR(p[i], 0.99 * p0[i] - 0.01 * moment / (std::sqrt(square) * 1.5 + 1e-3), 3e-6) << i;
  }
  EXPECT_TRUE(rounded == Operands(operand(), p));
}

// All outputs of one run of every operation but attention.
struct Outputs {
  std::vector<float> floats;
  std::vector<double> doubles;
  Operands normed, copy, turned, inside, gate_up, logits;
  bool operator==(const Outputs&) const = default;
};

Outputs run_all(const Table& table, int threads) {
  omp_set_num_threads(threads);
  const auto& ops = *table.ops;
  const AttentionShape shape{1, kRows, 3, 1, 10};
  const std::int64_t size = kRows * kWidth;
  const auto weight = noise(kWidth, 2), angle = noise(kRows * 5, 8);
  Outputs o{{},
            std::vector<double>(kRows),
            Operands(table.operand, size),
            Operands(table.operand, size),
            Operands(table.operand, noise(kRows * shape.row(), 9)),
            Operands(table.operand, noise(size, 10)),
            Operands(table.operand, noise(2 * size, 11)),
            Operands(table.operand, noise(size, 12))};
  std::vector<float> sum(kRows * kWidth), scale(kRows), dx(kRows * kWidth), dweight(kWidth);
  std::vector<float> scratch(static_cast<std::size_t>(rms_norm_scratch(kRows, kWidth)) + 3 * kWidth);
  const std::vector<std::int64_t> target(kRows, 5);
  Operands delta(table.operand, noise(size, 13));
  ops.rms_norm(noise(size, 1).data(), delta.data(), weight.data(), 1e-5f, kRows, kWidth, sum.data(),
               scale.data(), o.normed.data());
  ops.rms_norm_backward(delta.data(), sum.data(), scale.data(), weight.data(), kRows, kWidth, dx.data(),
                        dweight.data(), o.copy.data(), scratch.data());
  ops.rotate(o.turned.data(), shape, angle.data(), angle.data(), 1);
  ops.swiglu_backward(o.gate_up.data(), o.inside.data(), kRows, kWidth);
  ops.cross_entropy(o.logits.data(), target.data(), kRows, kWidth, 0.1f, o.doubles.data(), scratch.data());
  auto p = noise(3 * kSumTile + 5, 14), m = noise(3 * kSumTile + 5, 15), v = p;
  for (float& value : v) value *= value;
  const auto gradient = noise(3 * kSumTile + 5, 16);
  ops.adamw({0.99f, 0.5f, 0.9f, 0.1f, 0.95f, 0.05f, 0.01f, 1.5f, 1e-3f}, std::ssize(p), p.data(),
            gradient.data(), m.data(), v.data(), nullptr);
  std::vector<double> sums(4);
  ops.sums_of_squares(p.data(), std::ssize(p), sums.data());
  o.doubles.insert(o.doubles.end(), sums.begin(), sums.end());
  for (const auto& part : {sum, scale, dx, dweight, p, m, v})
    o.floats.insert(o.floats.end(), part.begin(), part.end());
  omp_set_num_threads(1);
  return o;
}

class Loops : public Kernel {};
INSTANTIATE_TEST_SUITE_P(Tables, Loops, testing::ValuesIn(loop_tables()), name_of);

TEST_P(Loops, BitsDependNeitherOnThreadsNorOnTheVectorUnit) {
  const Outputs expected = run_all({operand(), kernels_of(operand()).back()}, 1);
  EXPECT_TRUE(run_all(GetParam(), 1) == expected);
  EXPECT_TRUE(run_all(GetParam(), 3) == expected);
}

}  // namespace
}  // namespace stint::model
