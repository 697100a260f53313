// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "trainer/engine/step_meter.h"

namespace stint::engine {
namespace {

TEST(StepMeter, RatesAndSharesAreOfAllStepsSinceTheLastEvent) {
  StepMeter meter({.tokens = 1000, .flops_per_token = 6e6, .peak = 1e11});
  StepReport report;
  report.step = 7;
  report.seconds = 0.1;
  report.communicating = 0.02;
  report.reading = 0.01;
  meter.add(report);
  report.step = 8;
  report.loss = 2.5;
  report.grad_norm = 0.7;
  report.learning_rate = 1e-3;
  report.seconds = 0.3;
  report.communicating = 0.08;
  report.peak_memory = 512 << 20;
  meter.add(report);
  const auto event = meter.event(report);
  EXPECT_EQ(event.at("step"), 8);
  EXPECT_EQ(event.at("loss"), 2.5);
  EXPECT_EQ(event.at("grad_norm"), 0.7);
  EXPECT_EQ(event.at("learning_rate"), 1e-3);
  EXPECT_DOUBLE_EQ(event.at("tokens_per_second"), 5000);
  EXPECT_DOUBLE_EQ(event.at("step_seconds"), 0.2);
  EXPECT_DOUBLE_EQ(event.at("mfu"), 0.3);
  EXPECT_DOUBLE_EQ(event.at("communication_share"), 0.25);
  EXPECT_DOUBLE_EQ(event.at("data_share"), 0.05);
  EXPECT_EQ(event.at("peak_memory_bytes"), 512 << 20);
  meter.add(report);
  EXPECT_DOUBLE_EQ(meter.event(report).at("step_seconds"), 0.3) << "it begins anew after an event";
}

}  // namespace
}  // namespace stint::engine
