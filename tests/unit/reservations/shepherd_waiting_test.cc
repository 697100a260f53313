// SPDX-License-Identifier: Apache-2.0
// Jobs of a plan that wait for their segment.
#include <gmock/gmock.h>

#include "tests/unit/reservations/shepherd_fixture.h"

namespace stint::reservations {
namespace {

using std::chrono::minutes;
using testing::ElementsAre;

TEST_F(ShepherdTest, AWaitingJobIsMovedOnWhenItsSegmentHasNoRoomLeft) {
  add_pending();
  tend_at(1'500);
  EXPECT_EQ(job().reservation, "sft.0");
  EXPECT_EQ(job().time_limit, minutes{1});
  tend_at(1'550);
  EXPECT_EQ(job().reservation, "sft.1");
  EXPECT_EQ(job().time_limit, minutes{10});
  EXPECT_THAT(event_names(), ElementsAre("segment"));
}

TEST_F(ShepherdTest, AMovedJobIsNotTouchedAgainUntilItsSegmentBegins) {
  add_pending("sft.1").time_limit = minutes{10};
  for (int time = 1'600; time < 2'990; time += 10) tend_at(time);
  EXPECT_EQ(count("place"), 0);
}

TEST_F(ShepherdTest, ASegmentThatBeganIsBroughtToTheSchedulersNotice) {
  add_pending("sft.1").time_limit = minutes{10};
  tend_at(3'000);
  EXPECT_EQ(count("place"), 1);
  tend_at(3'000.5);
  EXPECT_EQ(count("place"), 1);
  tend_at(3'002.5);
  EXPECT_EQ(count("place"), 2);
  tend_at(3'070);
  tend_at(3'080);
  EXPECT_LE(count("place"), 4);  // only its time limit shrinks with the segment
}

TEST_F(ShepherdTest, ALimitThatItsOwnerLoweredStaysLow) {
  add_pending("sft.1").time_limit = minutes{3};
  tend_at(3'000);
  EXPECT_EQ(job().time_limit, minutes{3});
}

TEST_F(ShepherdTest, ALimitBeyondThePartitionsIsLoweredSoThatTheJobStarts) {
  cluster_.max_time = minutes{2};
  add_pending();
  tend_at(1'010);
  EXPECT_EQ(job().time_limit, minutes{2});
}

TEST_F(ShepherdTest, AUsersOwnTimeLimitIsKeptInTheNextSegment) {
  add_pending("sft.0", "stint plan=sft time=4").time_limit = minutes{4};
  tend_at(1'580);
  EXPECT_EQ(job().reservation, "sft.1");
  EXPECT_EQ(job().time_limit, minutes{4});
}

TEST_F(ShepherdTest, SlurmsHoldAfterARequeueDoesNotCostASegment) {
  auto& job = add_pending();
  job.restart = 1;
  job.begin_time_hold = true;
  job.queued = at(1'450);
  job.begin = at(1'571);
  tend_at(1'451);
  EXPECT_EQ(this->job().reservation, "sft.0");
}

TEST_F(ShepherdTest, AJobThatMayOnlyBeginLaterWaitsForTheSegmentOfThatTime) {
  auto& job = add_pending();
  job.begin_time_hold = true;
  job.queued = at(1'000);
  job.begin = at(3'100);
  tend_at(1'010);
  EXPECT_EQ(this->job().reservation, "sft.1");
}

TEST_F(ShepherdTest, AJobThatSlurmHeldForItsLostReservationIsReleasedInTheNextOne) {
  add_pending().held_without_plan = true;
  tend_at(2'000);
  EXPECT_EQ(job().reservation, "sft.1");
  EXPECT_FALSE(job().held_without_plan);
}

}  // namespace
}  // namespace stint::reservations
