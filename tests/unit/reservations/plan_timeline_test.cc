// SPDX-License-Identifier: Apache-2.0
#include "reservations/plan_timeline.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr std::int64_t kMonday = 1'795'392'000;  // 2026-11-23T00:00:00Z

// Hours of kMonday.
std::string drawn(const std::vector<std::pair<int, int>>& segments, int now) {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  nlohmann::json plan{{"segments", nlohmann::json::array()}};
  for (const auto& [start, end] : segments)
    plan["segments"].push_back({{"start", kMonday + start * 3'600}, {"end", kMonday + end * 3'600}});
  return timeline_text(plan, sys_seconds{seconds{kMonday + now * 3'600}});
}

std::string times(int count, const std::string& text) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

TEST(PlanTimeline, WhatIsGoneWhatIsToComeAndNow) {
  EXPECT_EQ(drawn({{0, 12}}, 3),
            times(15, "█") + times(45, "░") + "\n" + std::string(15, ' ') + "^ 2026-11-23T03:00:00\n");
  EXPECT_EQ(drawn({{0, 12}}, 9),
            times(45, "█") + times(15, "░") + "\n" + std::string(25, ' ') + "2026-11-23T09:00:00 ^\n");
}

TEST(PlanTimeline, GapsAreGapsAndTheShortestSegmentIsSeen) {
  EXPECT_EQ(drawn({{0, 1}, {2, 3}, {3, 6}}, 4), times(10, "█") + times(10, "·") + times(20, "█") +
                                                    times(20, "░") + "\n" + std::string(20, ' ') +
                                                    "2026-11-23T04:00:00 ^\n");
  EXPECT_EQ(drawn({{0, 1}, {400, 1'000}}, 1'001).substr(0, 5), "█·");
}

TEST(PlanTimeline, BeforeAndAfterThereIsNoNow) {
  EXPECT_EQ(drawn({{2, 4}}, 1), times(60, "░") + "\n");
  EXPECT_EQ(drawn({{2, 4}}, 4), times(60, "█") + "\n");
  EXPECT_EQ(timeline_text({{"segments", nlohmann::json::array()}}, {}), "");
}

}  // namespace
}  // namespace stint::reservations
