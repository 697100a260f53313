// SPDX-License-Identifier: Apache-2.0
// Jobs whose plan is over, or not theirs any more.
#include <gmock/gmock.h>

#include "tests/unit/reservations/shepherd_fixture.h"

namespace stint::reservations {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(ShepherdTest, AtTheLastEndAJobIsWarnedAndLeftToItsTimeLimit) {
  auto& job = add_running();
  job.reservation = "sft.1";
  job.started = at(3'000);
  tend_at(3'595);
  EXPECT_EQ(cluster_.warnings[kJob], 1);
  EXPECT_EQ(job.restart, 0U);
  EXPECT_EQ(job.end, at(3'600));
}

TEST_F(ShepherdTest, AJobWhosePlanIsOverSaysSoWaitsAndIsCancelled) {
  add_pending("sft.1");
  tend_at(3'600);
  EXPECT_EQ(job().state, JobState::kPending);
  EXPECT_THAT(job().admin_comment,
              HasSubstr("stint plan=sft -- plan sft is over; this job is cancelled at "));
  EXPECT_THAT(job().admin_comment, HasSubstr("stint plan extend sft"));
  EXPECT_TRUE(job().held);
  restart_stintd();
  tend_at(3'700);
  EXPECT_EQ(count("comment"), 1);
  tend_at(7'190);
  EXPECT_EQ(job().state, JobState::kPending);
  tend_at(7'201);
  EXPECT_EQ(job().state, JobState::kFinished);
  EXPECT_THAT(event_names(), ElementsAre("plan_over", "cancelled"));
}

TEST_F(ShepherdTest, AWaitingJobOfAUserWhoMayNotUseThePlanAnyMoreSaysSoAndIsCancelled) {
  plan_.uids = {kUser + 1};
  book({{"sft.0", at(1'000), at(1'600), nodes_}});
  add_pending();
  tend_at(1'020);
  EXPECT_TRUE(job().held);
  EXPECT_THAT(job().admin_comment, HasSubstr("stint plan=sft -- its user may not use plan sft; this job is "
                                             "cancelled at "));
  EXPECT_THAT(job().admin_comment,
              HasSubstr("unless the plan is shared with its user: stint plan share sft"));
  restart_stintd();
  tend_at(4'630);
  EXPECT_EQ(job().state, JobState::kFinished);
}

TEST_F(ShepherdTest, AUserWhoMayUseThePlanAgainSeesTheWaitingJobGoOn) {
  add_pending().uid = kUser + 1;
  tend_at(1'020);
  EXPECT_TRUE(job().held);
  plan_.uids = {kUser, kUser + 1};
  book(plan_.segments);
  tend_at(1'030);
  EXPECT_FALSE(job().held);
  EXPECT_EQ(job().admin_comment, "stint plan=sft");
}

TEST_F(ShepherdTest, AStrangersJobThatAnOperatorTookOutIsLeftAlone) {
  auto& job = add_pending("");
  job.uid = kUser + 1;
  tend_at(1'020);
  EXPECT_FALSE(job.held);
}

TEST_F(ShepherdTest, AJobOfAPlanThatTheLedgerDoesNotKnowIsLeftAlone) {
  add_pending("other.0", "stint plan=other");
  tend_at(1'020);
  EXPECT_FALSE(job().held);
}

TEST_F(ShepherdTest, AJobWhosePlanGetsMoreTimeGoesOn) {
  add_pending("sft.1");
  tend_at(3'600);
  job().held_without_plan = true;
  auto longer = plan_.segments[1];
  longer.end = at(9'000);
  ledger_.set_segment(plan_.id, 1, longer, {cluster_.now, "root", "reservation changed", ""});
  tend_at(3'700);
  EXPECT_FALSE(job().held_without_plan);
  EXPECT_FALSE(job().held);
  EXPECT_EQ(job().admin_comment, "stint plan=sft");
  tend_at(8'950);
  tend_at(9'000);
  EXPECT_EQ(job().state, JobState::kPending);  // its time of grace begins anew
}

TEST_F(ShepherdTest, AJobIsNotStartedInTheLastSecondsOfItsPlan) {
  add_pending("sft.1");
  tend_at(3'545);
  EXPECT_TRUE(job().held);
}

TEST_F(ShepherdTest, AJobThatItsOwnerHoldsStaysHeld) {
  add_pending().held = true;
  tend_at(1'550);
  EXPECT_EQ(job().reservation, "sft.1");
  EXPECT_TRUE(job().held);
}

TEST_F(ShepherdTest, AnothersPlanOfTheSameNameIsNotTheJobs) {
  plan_.uids = {kUser + 1};
  book({{"sft.0", at(1'000), at(1'600), nodes_}});
  add_pending();
  tend_at(1'599);
  EXPECT_EQ(count("place"), 0);
}

TEST_F(ShepherdTest, AJobOutsideEveryPlanIsNotTouched) {
  add_running("stint recipe=tiny@12345678");
  job().reservation.clear();
  tend_at(1'595);
  EXPECT_THAT(cluster_.calls, ElementsAre("jobs"));
}

TEST_F(ShepherdTest, AnOperatorsJobThatWasTakenOutOfItsPlanRunsOn) {
  add_running().reservation.clear();
  tend_at(1'595);
  EXPECT_EQ(job().end, at(1'545));
  EXPECT_EQ(job().restart, 0U);
}

}  // namespace
}  // namespace stint::reservations
