// SPDX-License-Identifier: Apache-2.0
#include "reservations/course.h"

#include <gtest/gtest.h>

namespace stint::reservations {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::sys_seconds;

sys_seconds at(int second) {
  return sys_seconds{seconds{second}};
}

// 0 to 600, 600 to 1200 on one node more, 3000 to 3600.
Plan three_segments() {
  Plan plan;
  plan.name = "sft";
  plan.phase = Phase::kBooked;
  plan.segments = {{"sft.0", at(0), at(600), {"node1", "node2"}},
                   {"sft.1", at(600), at(1'200), {"node1", "node2", "node3"}},
                   {"sft.2", at(3'000), at(3'600), {"node1", "node2"}}};
  return plan;
}

ClusterJob running_in(const std::string& reservation) {
  ClusterJob job;
  job.state = JobState::kRunning;
  job.reservation = reservation;
  job.nodes = {"node1", "node2"};
  return job;
}

TEST(Course, WishesAreReadFromTheTagAndARemarkDoesNotDisturbThem) {
  const std::string tag = "stint plan=sft recipe=tiny@12345678 time=30 signal=own";
  const auto remarked = with_remark(tag, "plan sft is over; stint plan=other");
  for (const auto& text : {tag, remarked}) {
    const auto wishes = parse_wishes(text);
    EXPECT_EQ(wishes.plan, "sft");
    EXPECT_TRUE(wishes.recipe);
    EXPECT_EQ(wishes.time, minutes{30});
    EXPECT_TRUE(wishes.own_signal);
  }
  EXPECT_EQ(with_remark(remarked, ""), tag);
  EXPECT_EQ(with_remark(remarked, "x"), tag + " -- x");
}

TEST(Course, NonsenseInATagIsNoWish) {
  EXPECT_FALSE(parse_wishes("stint plan=sft time=soon").time);
  EXPECT_FALSE(parse_wishes("stint plan=sft time=0").time);
  EXPECT_EQ(parse_wishes("somebody's plan=sft").plan, "");
  EXPECT_FALSE(parse_wishes("").recipe);
}

TEST(Course, AWaitingJobBelongsIntoTheFirstSegmentWithAMinuteLeft) {
  const auto plan = three_segments();
  EXPECT_EQ(segment_for(plan, "", at(0)), 0U);
  EXPECT_EQ(segment_for(plan, "sft.0", at(540)), 0U);
  EXPECT_EQ(segment_for(plan, "sft.0", at(541)), 1U);
  EXPECT_EQ(segment_for(plan, "sft.0", at(2'000)), 2U);
  EXPECT_EQ(segment_for(plan, "sft.0", at(3'541)), std::nullopt);
}

TEST(Course, AJobThatLeftASegmentDoesNotComeBack) {
  EXPECT_EQ(segment_for(three_segments(), "sft.2", at(100)), 2U);
}

TEST(Course, TheTimeLimitIsTheLeastOfRestWishAndPartition) {
  const auto plan = three_segments();
  EXPECT_EQ(fitted_limit(plan.segments[2], at(0), {}, {}), minutes{10});
  EXPECT_EQ(fitted_limit(plan.segments[0], at(90), {}, {}), minutes{8});
  JobWishes wishes;
  wishes.time = minutes{5};
  EXPECT_EQ(fitted_limit(plan.segments[0], at(90), wishes, {}), minutes{5});
  EXPECT_EQ(fitted_limit(plan.segments[0], at(90), wishes, minutes{2}), minutes{2});
  EXPECT_EQ(fitted_limit(plan.segments[0], at(599), {}, {}), minutes{1});
}

TEST(Course, OnlyASegmentThatContinuesOnTheSameNodesIsRolledInto) {
  const auto plan = three_segments();
  EXPECT_TRUE(rolls_over(plan, 0, {"node1", "node2"}));
  EXPECT_FALSE(rolls_over(plan, 0, {"node1", "node4"}));
  EXPECT_FALSE(rolls_over(plan, 1, {"node1", "node2"}));
  EXPECT_FALSE(rolls_over(plan, 2, {"node1"}));
  EXPECT_FALSE(rolls_over(plan, 0, {}));
}

TEST(Course, AWindowEndsWithItsSegmentAndNamesTheNextOne) {
  const auto plan = three_segments();
  const auto window = window_of(plan, 1, running_in("sft.1"), {at(1'200), JobEnd::Why::kSegment});
  EXPECT_EQ(window.ends, at(1'200));
  EXPECT_FALSE(window.rolls_over);
  EXPECT_EQ(window.next_reservation, "sft.2");
  EXPECT_EQ(window.next_start, at(3'000));
  EXPECT_EQ(to_json(window).at("next_start"), 3'000);
  EXPECT_TRUE(window_of(plan, 0, running_in("sft.0"), {at(600), JobEnd::Why::kSegment}).rolls_over);
}

TEST(Course, TheLastWindowHasNoNext) {
  const auto json = to_json(window_of(three_segments(), 2, running_in("sft.2"), {at(3'600), {}}));
  EXPECT_TRUE(json.at("next_reservation").is_null());
  EXPECT_TRUE(json.at("next_start").is_null());
  EXPECT_EQ(json.at("ends"), 3'600);
}

TEST(Course, AJobWhoseOwnTimeEndsGoesOnInTheSameSegment) {
  const auto window = window_of(three_segments(), 2, running_in("sft.2"), {at(3'300), JobEnd::Why::kWish});
  EXPECT_EQ(window.ends, at(3'300));
  EXPECT_EQ(window.next_reservation, "sft.2");
  EXPECT_EQ(window.next_start, at(3'300));
}

// In sft.2 since 3000.
ClusterJob job_with_limit(minutes limit) {
  auto job = running_in("sft.2");
  job.started = at(3'000);
  job.time_limit = limit;
  job.end = job.started + limit;
  return job;
}

void expect_end(const ClusterJob& job, std::optional<minutes> wish, const Leave& leave, int ends,
                JobEnd::Why why) {
  JobWishes wishes;
  wishes.time = wish;
  const auto end = due_end(job, wishes, three_segments().segments[2], leave);
  EXPECT_EQ(end.at, at(ends));
  EXPECT_EQ(end.why, why);
}

TEST(Course, AJobThatWasCutAtSubmitHasItsSegmentOrItsWishOnceItRuns) {
  using Why = JobEnd::Why;
  const Leave leave{minutes{2}, true};
  expect_end(job_with_limit(minutes{2}), {}, leave, 3'600, Why::kSegment);
  expect_end(job_with_limit(minutes{2}), minutes{5}, leave, 3'300, Why::kWish);
  expect_end(job_with_limit(minutes{2}), minutes{50}, leave, 3'600, Why::kSegment);
}

TEST(Course, WherePolicyDoesNotLetItExceedSlurmsLimitsAJobEndsAtThem) {
  using Why = JobEnd::Why;
  const Leave leave{minutes{2}, false};
  expect_end(job_with_limit(minutes{2}), {}, leave, 3'120, Why::kLimit);
  expect_end(job_with_limit(minutes{2}), minutes{5}, leave, 3'120, Why::kLimit);
  expect_end(job_with_limit(minutes{1}), minutes{1}, leave, 3'060, Why::kWish);
  expect_end(job_with_limit(minutes{10}), {}, {minutes{20}, false}, 3'600, Why::kSegment);
}

TEST(Course, ALimitThatItsOwnerLoweredBeforeItStartedIsAWish) {
  expect_end(job_with_limit(minutes{3}), minutes{5}, {}, 3'180, JobEnd::Why::kWish);
}

TEST(Course, AJobThatRolledOverHasTheTimeThatItsOwnerWished) {
  auto job = job_with_limit(minutes{10});  // it began a segment ago, and had that segment's rest
  job.started = at(2'700);
  job.end = at(3'300);
  expect_end(job, minutes{14}, {}, 3'540, JobEnd::Why::kWish);
}

}  // namespace
}  // namespace stint::reservations
