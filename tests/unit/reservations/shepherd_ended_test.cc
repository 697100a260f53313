// SPDX-License-Identifier: Apache-2.0
// Jobs that ended with their segment, and are brought back.
#include <gmock/gmock.h>

#include "tests/unit/reservations/shepherd_fixture.h"

namespace stint::reservations {
namespace {

using std::chrono::minutes;
using testing::ElementsAre;

TEST_F(ShepherdTest, AJobThatDiesOfItsWarningBeginsAgainInTheNextSegment) {
  add_running();
  tend_at(1'540);
  job().state = JobState::kFinished;
  job().killed_by_warning = true;
  job().end = at(1'541);
  tend_at(1'541);
  EXPECT_EQ(job().restart, 1U);
  EXPECT_EQ(job().reservation, "sft.1");
}

TEST_F(ShepherdTest, ARunThatSlurmEndsAtItsSegmentsEndGoesOnInTheNextOne) {
  add_running("stint plan=sft recipe=tiny@12345678");
  tend_at(1'590);
  job().state = JobState::kFinished;
  job().timed_out = true;
  job().end = at(1'610);
  tend_at(1'621);
  EXPECT_EQ(job().restart, 1U);
  EXPECT_EQ(job().reservation, "sft.1");
}

// While no stintd ran, or before one could note that the segment's end was near.
TEST_F(ShepherdTest, AStintdThatStartsBringsBackWhatEndedWithItsSegmentBefore) {
  auto& job = add_running();
  job.state = JobState::kFinished;
  job.timed_out = true;
  job.end = at(1'622);
  job.reservation.clear();  // as Slurm has it when the reservation is gone
  tend_at(1'800);
  EXPECT_EQ(job.restart, 1U);
  EXPECT_EQ(job.reservation, "sft.1");
  EXPECT_THAT(event_names(), ElementsAre("sent_on"));
}

TEST_F(ShepherdTest, AJobThatMayNotBeRequeuedIsNotBroughtBack) {
  auto& job = add_running();
  job.state = JobState::kFinished;
  job.timed_out = true;
  job.requeue = false;
  job.end = at(1'600);
  tend_at(1'601);
  EXPECT_EQ(job.restart, 0U);
}

TEST_F(ShepherdTest, AJobThatSlurmWillNotRequeueIsTriedAgainLater) {
  auto& job = add_running();
  job.state = JobState::kFinished;
  job.timed_out = true;
  job.end = at(1'600);
  cluster_.refuses_requeue = true;
  tend_at(1'601);
  tend_at(1'602);
  EXPECT_EQ(count("requeue"), 1);
  cluster_.refuses_requeue = false;
  tend_at(1'612);
  EXPECT_EQ(job.restart, 1U);
}

TEST_F(ShepherdTest, AClockThatIsSetBackKeepsNoJobWaitingForItsNextTry) {
  auto& job = add_running();
  job.state = JobState::kFinished;
  job.timed_out = true;
  job.end = at(1'600);
  cluster_.refuses_requeue = true;
  tend_at(1'701);
  cluster_.refuses_requeue = false;
  tend_at(1'621);
  EXPECT_EQ(job.restart, 1U);
}

TEST_F(ShepherdTest, AJobThatItsOwnTimeLimitEndsHasEnded) {
  add_running("stint plan=sft time=9");
  tend_at(1'540);
  job().state = JobState::kFinished;
  job().timed_out = true;
  tend_at(1'546);
  EXPECT_EQ(job().restart, 0U);
}

TEST_F(ShepherdTest, AJobWhoseLimitWasLoweredWhileItRanEndsWithIt) {
  add_running();
  tend_at(1'010);
  job().state = JobState::kFinished;
  job().timed_out = true;
  job().end = at(1'590);
  tend_at(1'591);
  EXPECT_EQ(job().restart, 0U);
}

// Slurm's limits are whole minutes: the job was started with less than its segment has.
TEST_F(ShepherdTest, AWishForMoreThanTheSegmentHasIsCutByTheSegmentAloneAndTheJobGoesOnInTheNextOne) {
  add_running("stint plan=sft time=300");
  tend_at(1'010);
  EXPECT_EQ(job().end, at(1'600));
  EXPECT_EQ(shepherd_->window(kJob, kUser).ends, at(1'600));
  tend_at(1'540);
  EXPECT_EQ(cluster_.warnings[kJob], 1);
  tend_at(1'590);
  EXPECT_EQ(job().restart, 1U);
  EXPECT_EQ(job().reservation, "sft.1");
}

TEST_F(ShepherdTest, AJobThatEndsWellAfterItsWarningHasEnded) {
  add_running();
  tend_at(1'540);
  job().state = JobState::kFinished;
  job().end = at(1'541);
  tend_at(1'541);
  EXPECT_EQ(job().restart, 0U);
}

TEST_F(ShepherdTest, AWishThatTheSegmentCutIsNoReasonNotToSendItOn) {
  auto& job = add_running("stint plan=sft time=60");
  tend_at(1'010);
  EXPECT_EQ(job.end, at(1'600));
  tend_at(1'591);
  EXPECT_EQ(job.restart, 1U);
  EXPECT_EQ(job.reservation, "sft.1");
}

}  // namespace
}  // namespace stint::reservations
