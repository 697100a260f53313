// SPDX-License-Identifier: Apache-2.0
// Jobs whose time is cut within a segment: by maintenance, or by Slurm's own limits.
#include <gmock/gmock.h>

#include "tests/unit/reservations/shepherd_fixture.h"

namespace stint::reservations {
namespace {

using std::chrono::minutes;
using testing::ElementsAre;

// As an admin does it, over whatever is there.
class ClaimedShepherdTest : public ShepherdTest {
 protected:
  ClaimedShepherdTest() {
    cluster_.reservations_["maint"] = {"maint", at(1'300), at(1'420), nodes_, {"root"}, ""};
  }
};

TEST_F(ClaimedShepherdTest, AWaitingJobIsGivenTheTimeBeforeMaintenanceThenTheTimeAfterIt) {
  add_pending().node_count = 2;
  tend_at(1'010);
  EXPECT_EQ(job().reservation, "sft.0");
  EXPECT_EQ(job().time_limit, minutes{4});
  tend_at(1'290);
  EXPECT_EQ(job().reservation, "sft.0");
  EXPECT_EQ(job().time_limit, minutes{3});
}

TEST_F(ClaimedShepherdTest, ARunningJobEndsBeforeMaintenanceAndGoesOnAfterItInTheSameSegment) {
  add_running();
  tend_at(1'010);
  EXPECT_EQ(job().end, at(1'300));
  const auto window = shepherd_->window(kJob, kUser);
  EXPECT_EQ(window.ends, at(1'300));
  EXPECT_EQ(window.next_reservation, "sft.0");
  EXPECT_EQ(window.next_start, at(1'420));
  EXPECT_EQ(window.segment, 0U);
  tend_at(1'292);
  EXPECT_EQ(count("requeue"), 1);
  EXPECT_EQ(job().reservation, "sft.0");
}

TEST_F(ClaimedShepherdTest, OneThatSlurmEndedJustAfterMaintenanceBeganIsBroughtBack) {
  add_running().end = at(1'330);
  job().state = JobState::kFinished;
  job().timed_out = true;
  tend_at(1'340);
  EXPECT_EQ(count("requeue"), 1);
  EXPECT_EQ(job().reservation, "sft.0");
  EXPECT_EQ(job().time_limit, minutes{3});
}

TEST_F(ClaimedShepherdTest, MaintenanceThatIsLaidOverARunningJobFromNowOnLetsItRun) {
  add_running();
  job().end = at(1'600);
  tend_at(1'305);
  EXPECT_EQ(job().end, at(1'600));
  EXPECT_EQ(shepherd_->window(kJob, kUser).ends, at(1'600));
}

TEST_F(ClaimedShepherdTest, AJobThatEndsThereInTimeIsNotGivenMoreWhenMaintenanceBegins) {
  add_running();
  tend_at(1'010);
  job().restart = 0;
  tend_at(1'301);
  EXPECT_EQ(job().end, at(1'300));
}

// node1 and node2 for ten minutes; Slurm lets jobs of alice's account run two.
class LimitedTest : public ShepherdTest {
 protected:
  LimitedTest() {
    cluster_.walls_.associations = {{kUser, "physics", "", true, "normal", minutes{2}}};
    auto& job = add_running();
    job.account = "physics";
    job.time_limit = minutes{2};
    job.end = at(1'125);
  }
  void exceed(bool allowed) {
    settings_.exceed_max_time = allowed;
    restart_stintd();
  }
};

TEST_F(LimitedTest, ARunningJobHasAllOfItsSegmentWherePolicyAllows) {
  tend_at(1'010);
  EXPECT_EQ(job().end, at(1'600));
  EXPECT_EQ(shepherd_->window(kJob, kUser).ends, at(1'600));
}

TEST_F(LimitedTest, WherePolicyDoesNotItIsWarnedAndRequeuedIntoTheSameSegment) {
  exceed(false);
  tend_at(1'010);
  EXPECT_EQ(job().end, at(1'125));
  EXPECT_EQ(cluster_.warnings[kJob], 0);
  tend_at(1'066);
  EXPECT_EQ(cluster_.warnings[kJob], 1);
  EXPECT_EQ(job().restart, 0U);
  tend_at(1'116);
  EXPECT_EQ(job().restart, 1U);
  EXPECT_EQ(job().reservation, "sft.0");
  EXPECT_THAT(event_names(), ElementsAre("warned", "sent_on"));
}

TEST_F(LimitedTest, ARunSeesItsWindowCloseWithTheLimitAndGoesOnInTheSameSegment) {
  exceed(false);
  const auto window = shepherd_->window(kJob, kUser);
  EXPECT_EQ(window.ends, at(1'125));
  EXPECT_EQ(window.next_reservation, "sft.0");
  EXPECT_EQ(window.next_start, at(1'125));
}

TEST_F(LimitedTest, ARunThatSlurmEndsAtTheLimitGoesOnInTheSameSegment) {
  exceed(false);
  job().admin_comment = "stint plan=sft recipe=tiny@12345678";
  tend_at(1'060);
  job().state = JobState::kFinished;
  job().timed_out = true;
  tend_at(1'126);
  EXPECT_EQ(job().restart, 1U);
  EXPECT_EQ(job().reservation, "sft.0");
  EXPECT_EQ(job().time_limit, minutes{2});
}

TEST_F(LimitedTest, ALimitThatWasRaisedForTheRunIsTakenBackBeforeTheNextStart) {
  auto& job = this->job();
  job.state = JobState::kPending;
  job.nodes.clear();
  job.time_limit = minutes{9};
  tend_at(1'010);
  EXPECT_EQ(job.time_limit, minutes{2});
}

TEST_F(LimitedTest, AWaitingJobIsFittedWhenTheLimitsChange) {
  auto& job = this->job();
  job.state = JobState::kPending;
  job.nodes.clear();
  job.qos = "short";
  tend_at(1'010);
  cluster_.walls_.qos = {{"short", minutes{1}, false, false}};
  tend_at(1'022);
  EXPECT_EQ(job.time_limit, minutes{1});
}

}  // namespace
}  // namespace stint::reservations
