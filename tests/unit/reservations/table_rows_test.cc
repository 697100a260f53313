// SPDX-License-Identifier: Apache-2.0
#include "reservations/table_rows.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace stint::reservations {
namespace {

using std::chrono::hours;
using std::chrono::sys_seconds;

constexpr sys_seconds kNow{std::chrono::seconds{1'795'444'440}};

Plan plan_of(std::int64_t id, Phase phase, std::size_t users) {
  Plan plan;
  plan.id = id;
  plan.name = fmt::format("plan{}", id);
  plan.phase = phase;
  plan.kind.partition = "main";
  plan.nodes = 1;
  for (std::size_t i = 0; i < users; ++i) {
    plan.users.push_back(fmt::format("user{:08}", i));
    plan.uids.push_back(static_cast<std::uint32_t>(100'000 + i));
  }
  plan.segments = {{plan.name + ".0", kNow - hours{1}, kNow + hours{1}, {"node1"}}};
  return plan;
}

PlanTable table_of(const std::map<std::string, Plan>& plans) {
  PlanTable table;
  for (const auto& [name, plan] : plans) table.plans.push_back(to_published_row(plan, kNow));
  return table;
}

TEST(TableRows, ManyPlansThatAreOverStayASmallTable) {
  std::map<std::string, Plan> plans;
  for (std::int64_t id = 1; id <= 3'000; ++id) {
    Plan plan = plan_of(id, Phase::kCancelled, 1'000);
    plans[plan.name] = std::move(plan);
  }
  plans["live"] = plan_of(9'999, Phase::kBooked, 1'000);
  drop_old(plans, kNow);
  EXPECT_EQ(plans.size(), kOverListed + 1);
  EXPECT_TRUE(plans.contains("plan3000"));
  EXPECT_FALSE(plans.contains("plan2500"));
  const auto table = table_of(plans);
  EXPECT_LT(table.format().size(), 1U << 19);
  EXPECT_TRUE(table.find("plan3000")->may_submit(100'000)) << "is told that it was cancelled";
  EXPECT_TRUE(table.find("plan9999")->may_submit(100'999)) << "is live";
}

TEST(TableRows, PlansThatEndedDaysAgoAreNotInIt) {
  std::map<std::string, Plan> plans{{"old", plan_of(1, Phase::kBooked, 1)},
                                    {"new", plan_of(2, Phase::kBooked, 1)}};
  plans["old"].segments[0] = {"old.0", kNow - hours{27}, kNow - hours{26}, {"node1"}};
  plans["new"].segments[0] = {"new.0", kNow - hours{24}, kNow - hours{23}, {"node1"}};
  drop_old(plans, kNow);
  EXPECT_FALSE(plans.contains("old"));
  EXPECT_TRUE(plans.contains("new"));
}

TEST(TableRows, ATableThatIsTooLargeGoesWithoutPlansThatAreOverThenWithoutNames) {
  const std::map<std::string, Plan> plans{{"a", plan_of(1, Phase::kBooked, 1'000)},
                                          {"b", plan_of(2, Phase::kCancelled, 16)}};
  const auto size = table_of(plans).format().size();
  const auto cut_to = [&](std::size_t most) {
    auto table = table_of(plans);
    const auto cut = fit_table(table, most).cut;
    if (cut != TableCut::kHopeless) {
      EXPECT_LE(table.format().size(), most);
      EXPECT_TRUE(table.find("plan1")->may_submit(100'999));
    }
    return cut;
  };
  EXPECT_EQ(cut_to(size), TableCut::kNothing);
  EXPECT_EQ(cut_to(size - 1), TableCut::kOver);
  EXPECT_EQ(cut_to(10'000), TableCut::kNames);
  EXPECT_EQ(cut_to(1'000), TableCut::kHopeless);
}

}  // namespace
}  // namespace stint::reservations
