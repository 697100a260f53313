// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/loss_scale.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace stint::engine {
namespace {

recipes::Recipe recipe(const char* precision) {
  recipes::Recipe r;
  r.model.precision = precision;
  r.optim.loss_scale = 1024;
  r.optim.loss_scale_growth = 2;
  r.optim.loss_scale_backoff = 0.25;
  r.optim.loss_scale_interval = 3;
  return r;
}

TEST(LossScale, IsOneWhereNothingIsInFp16) {
  for (const char* precision : {"fp32", "bf16"}) {
    LossScale scale(recipe(precision));
    for (int i = 0; i < 10; ++i) scale.note_update();
    scale.restore(512, 1);
    EXPECT_EQ(scale.value(), 1);
    EXPECT_FALSE(scale.is_dynamic());
    EXPECT_FALSE(scale.note_overflow()) << "there is nothing to try";
  }
}

TEST(LossScale, GrowsAfterQuietStepsAndFallsAtOnce) {
  LossScale scale(recipe("fp16"));
  EXPECT_EQ(scale.value(), 1024);
  for (int i = 0; i < 2; ++i) scale.note_update();
  EXPECT_EQ(scale.value(), 1024);
  scale.note_update();
  EXPECT_EQ(scale.value(), 2048);
  scale.note_update();
  scale.note_update();
  EXPECT_TRUE(scale.note_overflow());
  EXPECT_EQ(scale.value(), 512);
  scale.note_update();
  scale.note_update();
  EXPECT_EQ(scale.value(), 512) << "an overflow begins the count anew";
  scale.note_update();
  EXPECT_EQ(scale.value(), 1024);
}

TEST(LossScale, StaysBetweenOneAndWhatFloatsBear) {
  LossScale scale(recipe("fp16"));
  int overflows = 0;
  while (scale.note_overflow()) ++overflows;
  EXPECT_EQ(overflows, 5);
  EXPECT_EQ(scale.value(), 1);
  for (int i = 0; i < 300; ++i) scale.note_update();
  EXPECT_EQ(scale.value(), 1 << 24);
}

TEST(LossScale, IsRestoredWithItsCountAndNeverToNonsense) {
  LossScale scale(recipe("fp16"));
  scale.restore(4096, 2);
  EXPECT_EQ(scale.value(), 4096);
  EXPECT_EQ(scale.updates(), 2);
  scale.note_update();
  EXPECT_EQ(scale.value(), 8192);
  for (const double value : {0.0, -1.0, 0.5, 1e30, std::nan(""), std::numeric_limits<double>::infinity()}) {
    scale.restore(value, 0);
    EXPECT_EQ(scale.value(), 8192) << value;
  }
  scale.restore(16, -1);
  EXPECT_EQ(scale.value(), 8192);
}

}  // namespace
}  // namespace stint::engine
