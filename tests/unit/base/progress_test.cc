// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/progress.h"

namespace stint {
namespace {

using namespace std::chrono_literals;
using testing::StartsWith;

TEST(Progress, LineLeavesOutWhatIsNotKnown) {
  EXPECT_EQ(
      progress_line({.step = 120, .steps = 300, .loss = 2.3149, .tokens_per_second = 14200, .left = 21s}),
      "step 120/300  loss 2.315  14.2k tokens/s  0:21 left");
  EXPECT_EQ(progress_line({.step = 7}), "step 7");
  EXPECT_EQ(progress_line({.step = 7, .left = 21s, .mfu = 0.414}), "step 7  0:21 left  MFU 41%");
}

TEST(Progress, BarFillsWithTheStepsAndFitsTheTerminal) {
  EXPECT_THAT(progress_bar({.step = 0, .steps = 300}, 80),
              StartsWith("[........................] step 0/300"));
  EXPECT_THAT(progress_bar({.step = 150, .steps = 300}, 80), StartsWith("[############............] "));
  EXPECT_THAT(progress_bar({.step = 300, .steps = 300}, 80), StartsWith("[########################] "));
  EXPECT_THAT(progress_bar({.step = 900, .steps = 300}, 80), StartsWith("[########################] "));
  EXPECT_EQ(progress_bar({.step = 150, .steps = 300}, 10).size(), 10U);
}

TEST(Progress, RatesHaveThreeDigits) {
  EXPECT_EQ(format_rate(0), "0.00");
  EXPECT_EQ(format_rate(950), "950");
  EXPECT_EQ(format_rate(999.7), "1.00k");
  EXPECT_EQ(format_rate(14230), "14.2k");
  EXPECT_EQ(format_rate(1.05e6), "1.05M");
}

TEST(Progress, ClocksCountHoursOnlyWhenThereAreSome) {
  EXPECT_EQ(format_clock(21s), "0:21");
  EXPECT_EQ(format_clock(725s), "12:05");
  EXPECT_EQ(format_clock(3h + 4min + 5s), "3:04:05");
  EXPECT_EQ(format_clock(-5s), "0:00");
}

TEST(ProgressMeter, TimeLeftIsTheMedianStepTimesWhatIsLeft) {
  ProgressMeter meter;
  meter.note({{"event", "start"}, {"steps", 100}, {"resume_step", 10}});
  EXPECT_EQ(meter.progress().step, 10);
  for (int step = 11; step <= 20; ++step) {
    meter.note({{"event", "step"}, {"step", step}, {"loss", 2}, {"step_seconds", step == 15 ? 60.0 : 0.5}});
  }
  EXPECT_EQ(meter.progress().left, 40s);
  meter.note({{"event", "start"}, {"steps", 100}, {"resume_step", 12}});
  EXPECT_EQ(meter.progress().step, 12);
  EXPECT_FALSE(meter.progress().left);
}

TEST(ProgressMeter, TakesNoNonsense) {
  ProgressMeter meter;
  meter.note({{"event", "step"}, {"step", "x"}, {"loss", nullptr}, {"step_seconds", -1}});
  EXPECT_EQ(meter.progress().step, 0);
  EXPECT_FALSE(meter.progress().loss);
}

TEST(Median, IsTheMiddle) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({9, 1, 5}), 5);
  EXPECT_EQ(median({4, 1, 9, 2}), 3);
}

}  // namespace
}  // namespace stint
