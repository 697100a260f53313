// SPDX-License-Identifier: Apache-2.0
// A plan table for tests; times are seconds after kNow.
#pragma once

#include "base/plan_table.h"

namespace stint::spank {

inline constexpr std::chrono::sys_seconds kNow{std::chrono::seconds(1'795'444'440)};
inline constexpr std::uint32_t kAlice = 1000, kBob = 1001, kCarol = 1002;

inline PlanRow sample_plan(const std::string& name, const std::string& state, std::uint32_t uid) {
  PlanRow plan;
  plan.name = name;
  plan.state = state;
  plan.users = {"user"};
  plan.uids = {uid};
  plan.partition = "main";
  plan.nodes = 4;
  plan.spares = 1;
  return plan;
}

inline PlanRow with_segment(PlanRow plan, int start, int end) {
  plan.segments.push_back({plan.name + "." + std::to_string(plan.segments.size()),
                           kNow + std::chrono::seconds(start), kNow + std::chrono::seconds(end),
                           "node[1-5]"});
  return plan;
}

// alice: demo (now, one hour), later (begins in an hour, for two), split (two segments), old, gone, broken;
// bob: secret. carol has none.
inline PlanTable sample_table() {
  PlanTable table;
  table.plans = {
      with_segment(sample_plan("demo", "active", kAlice), -60, 3600),
      with_segment(sample_plan("later", "scheduled", kAlice), 3600, 3 * 3600),
      with_segment(with_segment(sample_plan("split", "active", kAlice), -600, 59), 7200, 9000),
      with_segment(sample_plan("old", "expired", kAlice), -7200, -3600),
      with_segment(sample_plan("gone", "cancelled", kAlice), -60, 3600),
      with_segment(sample_plan("waiting", "pending", kAlice), 60, 3600),
      with_segment(sample_plan("broken", "failed", kAlice), -60, 3600),
      with_segment(sample_plan("secret", "active", kBob), -60, 3600),
  };
  return table;
}

}  // namespace stint::spank
