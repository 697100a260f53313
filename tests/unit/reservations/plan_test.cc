// SPDX-License-Identifier: Apache-2.0
#include "reservations/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::HasSubstr;

constexpr sys_seconds at(std::int64_t second) {
  return sys_seconds{seconds{second}};
}

Plan plan_from_to(std::int64_t start, std::int64_t end, Phase phase) {
  Plan plan;
  plan.name = "demo";
  plan.phase = phase;
  plan.segments.push_back({"demo.0", at(start), at(end), {"node1", "node2"}});
  return plan;
}

std::string error_of(const nlohmann::json& body) {
  try {
    PlanRequest::parse(body);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(PlanState, FollowsTheClockOnceBooked) {
  const Plan plan = plan_from_to(100, 200, Phase::kBooked);
  EXPECT_EQ(plan.state_at(at(99)), PlanState::kScheduled);
  EXPECT_EQ(plan.state_at(at(100)), PlanState::kActive);
  EXPECT_EQ(plan.state_at(at(199)), PlanState::kActive);
  EXPECT_EQ(plan.state_at(at(200)), PlanState::kExpired);
  EXPECT_TRUE(plan.live_at(at(199)));
  EXPECT_FALSE(plan.live_at(at(200)));
}

TEST(PlanState, WhatIsBeingCancelledTakesNoJobsButKeepsItsName) {
  const Plan plan = plan_from_to(100, 200, Phase::kCancelling);
  EXPECT_EQ(plan.state_at(at(150)), PlanState::kCancelled);
  EXPECT_TRUE(plan.live_at(at(150)));
}

TEST(PlanState, EndsAreFinal) {
  for (const Phase end : {Phase::kCancelled, Phase::kFailed}) {
    for (const Phase next : {Phase::kBooking, Phase::kBooked, Phase::kCancelling})
      EXPECT_FALSE(may_follow(end, next));
  }
  EXPECT_TRUE(may_follow(Phase::kBooking, Phase::kBooked));
  EXPECT_FALSE(may_follow(Phase::kBooking, Phase::kCancelled));
  EXPECT_TRUE(may_follow(Phase::kCancelling, Phase::kBooked));
}

TEST(PlanRequest, ReadsEveryField) {
  const auto request = PlanRequest::parse({{"name", "demo"},
                                           {"nodes", 4},
                                           {"spares", 1},
                                           {"start", 1'000},
                                           {"duration", 600},
                                           {"partition", "main"},
                                           {"users", {"alice", "bob", "alice"}}});
  EXPECT_EQ(request.nodes, 4);
  EXPECT_EQ(request.spares, 1);
  EXPECT_EQ(request.start, at(1'000));
  EXPECT_EQ(request.duration, seconds{600});
  EXPECT_THAT(request.users, testing::ElementsAre("alice", "bob"));
}

TEST(PlanRequest, EveryWrongFieldIsNamed) {
  const nlohmann::json good{{"name", "demo"}, {"nodes", 4}, {"duration", 600}};
  EXPECT_EQ(error_of(good), "accepted");
  const auto with = [&](const char* field, const nlohmann::json& value) {
    auto body = good;
    body[field] = value;
    return error_of(body);
  };
  EXPECT_THAT(with("name", "../etc"), HasSubstr("'../etc' is no plan name"));
  EXPECT_THAT(with("name", std::string(33, 'a')), HasSubstr("at most 32"));
  EXPECT_THAT(with("name", "none"), HasSubstr("--training-plan=none means no plan"));
  EXPECT_THAT(with("name", 7), HasSubstr("name must be a text"));
  EXPECT_THAT(with("nodes", 0), HasSubstr("nodes must be 1 to 65536"));
  EXPECT_THAT(with("nodes", 18446744073709551615ULL), HasSubstr("nodes must be 1 to 65536"));
  EXPECT_THAT(with("nodes", "4"), HasSubstr("nodes must be a whole number"));
  EXPECT_THAT(with("nodes", 4.5), HasSubstr("nodes must be a whole number"));
  EXPECT_THAT(with("spares", -1), HasSubstr("spares must be 0 to"));
  EXPECT_THAT(with("duration", 1), HasSubstr("duration must be at least a minute"));
  EXPECT_THAT(with("start", -5), HasSubstr("start must be 0 to"));
  EXPECT_THAT(with("users", "alice"), HasSubstr("users must be a list"));
  EXPECT_THAT(with("users", {""}), HasSubstr("users holds an empty name"));
  EXPECT_THAT(with("users", {" "}), HasSubstr("users holds an empty name"));
  EXPECT_THAT(with("spares", 65'536), HasSubstr("together must be at most"));
  EXPECT_THAT(with("node", 4), HasSubstr("unknown field 'node'"));
  EXPECT_THAT(error_of({{"name", "demo"}, {"nodes", 4}}), HasSubstr("duration is missing"));
  EXPECT_THAT(error_of({{"name", "demo"}, {"duration", 600}}), HasSubstr("nodes is missing"));
  EXPECT_THAT(error_of(nlohmann::json::array()), HasSubstr("must be a JSON object"));
}

TEST(Plan, JsonNamesTheSegmentThatCountsNow) {
  Plan plan = plan_from_to(100, 200, Phase::kBooked);
  plan.segments.push_back(plan.segments.front());
  plan.segments.back().start = at(300);
  plan.segments.back().end = at(400);
  for (const auto& [now, k] :
       {std::pair(50, 0), std::pair(150, 0), std::pair(200, 1), std::pair(350, 1), std::pair(400, 1)})
    EXPECT_EQ(to_json(plan, at(now), {})["segment"], k) << now;
}

TEST(Plan, JsonShowsOnlyItsOwnLostNodes) {
  Plan plan = plan_from_to(100, 200, Phase::kBooked);
  plan.nodes = 2;
  const auto json = to_json(plan, at(150), {"node2", "node9"});
  EXPECT_EQ(json["segments"][0]["lost"], nlohmann::json({"node2"}));
  EXPECT_EQ(json["state"], "active");
}

}  // namespace
}  // namespace stint::reservations
