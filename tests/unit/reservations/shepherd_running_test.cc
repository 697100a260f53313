// SPDX-License-Identifier: Apache-2.0
// Jobs that run in a segment: until its end, over into the next one, or warned and sent on.
#include <gmock/gmock.h>

#include "reservations/kill_point.h"
#include "tests/unit/reservations/shepherd_fixture.h"

namespace stint::reservations {
namespace {

using std::chrono::minutes;
using testing::ElementsAre;

TEST_F(ShepherdTest, ARunningJobMayRunToTheVeryEndOfItsSegment) {
  add_running();
  tend_at(1'010);
  EXPECT_EQ(job().end, at(1'600));
  tend_at(1'011);
  EXPECT_EQ(count("end"), 1);
}

TEST_F(ShepherdTest, ALimitThatIsLoweredWhileTheJobRunsStaysLowAlsoForTheNextStintd) {
  add_running();
  tend_at(1'010);
  job().end = at(1'300);
  tend_at(1'011);
  restart_stintd();
  tend_at(1'012);
  EXPECT_EQ(job().end, at(1'300));
}

TEST_F(ShepherdTest, AUsersOwnTimeLimitIsNotRaised) {
  add_running("stint plan=sft time=9");
  tend_at(1'010);
  EXPECT_EQ(job().end, at(1'545));
}

TEST_F(ShepherdTest, AJobWithoutATimeLimitDoesNotOutliveItsSegment) {
  add_running().end.reset();
  tend_at(1'010);
  EXPECT_EQ(job().end, at(1'600));
}

TEST_F(ShepherdTest, ASegmentThatGrowsTakesItsRunningJobAlong) {
  add_running();
  tend_at(1'010);
  auto longer = plan_.segments[0];
  longer.end = at(1'900);
  ledger_.set_segment(plan_.id, 0, longer, {cluster_.now, "root", "reservation changed", ""});
  tend_at(1'012);
  EXPECT_EQ(job().end, at(1'900));
}

TEST_F(ShepherdTest, AJobRollsOverIntoASegmentThatContinuesOnItsNodes) {
  book({{"sft.0", at(1'000), at(1'600), nodes_},
        {"sft.1", at(1'600), at(2'200), {"node1", "node2", "node3"}}});
  add_running();
  tend_at(1'010);
  tend_at(1'011);
  EXPECT_EQ(job().state, JobState::kRunning);
  EXPECT_EQ(job().restart, 0U);
  EXPECT_EQ(job().reservation, "sft.1");
  EXPECT_EQ(job().end, at(2'200));
  tend_at(1'580);
  EXPECT_EQ(cluster_.warnings[kJob], 0);
  EXPECT_EQ(job().restart, 0U);
}

TEST_F(ShepherdTest, AJobOnOtherNodesDoesNotRollOver) {
  book({{"sft.0", at(1'000), at(1'600), nodes_}, {"sft.1", at(1'600), at(2'200), {"node1", "node3"}}});
  add_running();
  tend_at(1'010);
  EXPECT_EQ(job().reservation, "sft.0");
  tend_at(1'591);
  EXPECT_EQ(job().restart, 1U);
  EXPECT_EQ(job().reservation, "sft.1");
}

TEST_F(ShepherdTest, AJobWithoutARecipeIsWarnedOnceThenRequeuedIntoTheNextSegment) {
  add_running();
  tend_at(1'539);
  EXPECT_EQ(cluster_.warnings[kJob], 0);
  tend_at(1'540);
  tend_at(1'541);
  restart_stintd();
  tend_at(1'542);
  EXPECT_EQ(cluster_.warnings[kJob], 1);
  EXPECT_EQ(job().restart, 0U);
  tend_at(1'590);
  EXPECT_EQ(job().restart, 1U);
  EXPECT_EQ(job().reservation, "sft.1");
  EXPECT_THAT(event_names(), ElementsAre("may_run", "warned", "sent_on"));
}

TEST_F(ShepherdTest, KilledWhileItSendsAJobOnTheNextOneDoesTheRest) {
  add_running().time_limit = minutes{9};
  for (const char* point : {"ledger.add_event", "slurm.set_job_reservation", "slurm.requeue_job"}) {
    restart_stintd();
    tend_at(1'589);  // warned, and its end is set
    if (job().restart > 0) break;
    set_kill_handler([point](std::string_view name) {
      if (name == point) throw FakeCluster::Killed();
    });
    EXPECT_THROW(tend_at(1'590), FakeCluster::Killed) << point;
    set_kill_handler({});
  }
  restart_stintd();
  tend_at(1'591);
  EXPECT_EQ(job().restart, 1U);
  EXPECT_EQ(job().reservation, "sft.1");
  EXPECT_THAT(event_names(), ElementsAre("may_run", "warned", "sent_on"));
}

TEST_F(ShepherdTest, AUsersOwnSignalIsLeftToSlurm) {
  add_running("stint plan=sft signal=own");
  tend_at(1'541);
  EXPECT_EQ(cluster_.warnings[kJob], 0);
  tend_at(1'590);
  EXPECT_EQ(job().restart, 1U);
}

TEST_F(ShepherdTest, AJobThatMayNotBeRequeuedIsOnlyWarned) {
  add_running().requeue = false;
  tend_at(1'595);
  EXPECT_EQ(cluster_.warnings[kJob], 1);
  EXPECT_EQ(job().restart, 0U);
  EXPECT_EQ(job().reservation, "sft.0");
}

TEST_F(ShepherdTest, AnInteractiveJobIsOnlyWarned) {
  add_running().batch = false;
  tend_at(1'595);
  EXPECT_EQ(cluster_.warnings[kJob], 1);
  EXPECT_EQ(job().restart, 0U);
}

TEST_F(ShepherdTest, AJobWithARecipeLooksAfterItself) {
  add_running("stint plan=sft recipe=tiny@12345678");
  tend_at(1'595);
  EXPECT_EQ(cluster_.warnings[kJob], 0);
  EXPECT_EQ(job().restart, 0U);
}

// stintd is killed after each call to Slurm in turn; the next one brings the job to the same place.
TEST_F(ShepherdTest, WhereverStintdIsKilledTheNextOneBringsTheJobIntoTheNextSegment) {
  for (int killed_after = 1; killed_after < 12; ++killed_after) {
    cluster_.jobs_.clear();
    const auto id = static_cast<std::uint32_t>(100 + killed_after);
    auto& job = cluster_.add_job(id, nodes_, "sft.0", "stint plan=sft");
    job.started = at(1'005);
    job.end = at(1'545);
    cluster_.calls.clear();
    cluster_.dies_after = killed_after;
    for (int time = 1'535; time < 1'600; ++time) {
      try {
        tend_at(time);
      } catch (const FakeCluster::Killed&) {
        restart_stintd();
      }
    }
    cluster_.dies_after = 0;
    EXPECT_EQ(job.restart, 1U) << killed_after;
    EXPECT_EQ(job.reservation, "sft.1") << killed_after;
    EXPECT_GE(cluster_.warnings[id], 1) << killed_after;
    EXPECT_LE(cluster_.warnings[id], 2) << killed_after;
  }
}

TEST_F(ShepherdTest, ARoundWithoutAControllerChangesNothingAndTheNextOneDoesIt) {
  add_running();
  cluster_.away = true;
  EXPECT_THROW(tend_at(1'591), ClusterError);
  cluster_.away = false;
  tend_at(1'592);
  EXPECT_EQ(job().restart, 1U);
}

TEST_F(ShepherdTest, TheWindowIsForTheOwnerOfARunningJobOfAPlan) {
  add_running();
  EXPECT_EQ(shepherd_->window(kJob, kUser).ends, at(1'600));
  EXPECT_EQ(refusal_of_window(kJob, 0), 200);
  EXPECT_EQ(refusal_of_window(kJob, kUser + 1), 403);
  EXPECT_EQ(refusal_of_window(99, kUser), 404);
  job().state = JobState::kPending;
  EXPECT_EQ(refusal_of_window(kJob, kUser), 409);
  job().state = JobState::kRunning;
  job().admin_comment = "stint recipe=tiny@12345678";
  EXPECT_EQ(refusal_of_window(kJob, kUser), 409);
}

TEST_F(ShepherdTest, AWindowThatSlurmWouldCloseEarlierEndsThen) {
  add_running();
  cluster_.now = 1'100;  // its end should have been set to the segment's long ago
  const auto window = shepherd_->window(kJob, kUser);
  EXPECT_EQ(window.ends, at(1'545));
}

}  // namespace
}  // namespace stint::reservations
