// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/segment_end.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "trainer/agent/segment_watch.h"

namespace stint::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::HasSubstr;

EndLead::Limits limits() {
  return {milliseconds(10'000), milliseconds(60'000), 2.0};
}

TEST(EndLead, IsTheFloorWhileSavesAreFast) {
  EndLead lead(limits());
  EXPECT_EQ(lead.lead(), milliseconds(10'000));
  lead.note("checkpoint", {{"seconds", 0.3}});
  EXPECT_EQ(lead.lead(), milliseconds(10'000));
}

TEST(EndLead, IsTheSlowestRecentSaveTimesSafetyAndTwoSteps) {
  EndLead lead(limits());
  lead.note("checkpoint", {{"seconds", 12.0}});
  lead.note("checkpoint", {{"seconds", 8.0}});
  lead.note("step", {{"step_seconds", 1.5}});
  EXPECT_EQ(lead.lead(), milliseconds(24'000 + 3'000));
  for (int i = 0; i < 10; ++i) lead.note("checkpoint", {{"seconds", 8.0}});
  EXPECT_EQ(lead.lead(), milliseconds(16'000 + 3'000));
}

TEST(EndLead, DoesNotPassTheCeilingButForTheSteps) {
  EndLead lead(limits());
  lead.note("checkpoint", {{"seconds", 500.0}});
  lead.note("step", {{"step_seconds", 20.0}});
  EXPECT_EQ(lead.lead(), milliseconds(100'000));
}

TEST(EndLead, GuessesFromTheModelsSizeBeforeTheFirstSave) {
  EndLead lead(limits());
  lead.note("ready", {{"parameters", 250'000'000}});
  EXPECT_EQ(lead.lead(), milliseconds(30'000));
  lead.note("checkpoint", {{"seconds", 6.0}});
  EXPECT_EQ(lead.lead(), milliseconds(12'000));
}

TEST(EndLead, OddNumbersArePassedOver) {
  EndLead lead(limits());
  lead.note("checkpoint", {{"seconds", -5}});
  lead.note("checkpoint", {{"seconds", "long"}});
  lead.note("step", nlohmann::json::object());
  lead.note("", {{"seconds", 40}});
  EXPECT_EQ(lead.lead(), milliseconds(10'000));
}

nlohmann::json window_json() {
  return {{"plan", "sft"},
          {"segment", 1},
          {"reservation", "sft.1"},
          {"ends", 1'200},
          {"next_reservation", "sft.2"},
          {"next_start", 3'000},
          {"rolls_over", false}};
}

TEST(SegmentEnd, AWindowIsReadAndSurvivesTheLog) {
  RunLog log;
  auto event = to_event(parse_window(window_json()), "12", 1, 40);
  EXPECT_EQ(event["step"], 40);
  EXPECT_THAT(event["why"].get<std::string>(), HasSubstr("segment 1 of plan sft ends "));
  event["event"] = "segment_end";
  log.events = {{{"event", "start"}}, event, {{"event", "stopping"}}, {{"event", "checkpoint"}}};
  const auto window = closing_window(log, "12", 1);
  ASSERT_TRUE(window);
  EXPECT_EQ(window->plan, "sft");
  EXPECT_EQ(window->next, "sft.2");
  EXPECT_EQ(window->ends, sys_seconds{seconds{1'200}});
  EXPECT_EQ(window->next_start, sys_seconds{seconds{3'000}});
  EXPECT_FALSE(closing_window(log, "12", 2));
  EXPECT_FALSE(closing_window(log, "13", 1));
  log.events.push_back({{"event", "start"}});
  EXPECT_FALSE(closing_window(log, "12", 1));  // another start, stopped by something else
}

TEST(SegmentEnd, TheLastWindowNamesNoNext) {
  auto json = window_json();
  json["next_reservation"] = json["next_start"] = nullptr;
  const auto window = parse_window(json);
  EXPECT_EQ(window.next, "");
  EXPECT_TRUE(window.next_is_known);
  EXPECT_THAT(describe(window), HasSubstr("the plan's last"));
}

TEST(SegmentEnd, AnAnswerWithoutAnEndIsRefused) {
  EXPECT_THROW(parse_window({{"plan", "sft"}}), Error);
  EXPECT_THROW(parse_window({{"ends", "soon"}}), Error);
  EXPECT_THROW(parse_window(nlohmann::json::array()), Error);
}

}  // namespace
}  // namespace stint::agent
