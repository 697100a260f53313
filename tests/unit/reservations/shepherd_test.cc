// SPDX-License-Identifier: Apache-2.0
#include "reservations/shepherd.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reservations/kill_point.h"
#include "tests/unit/reservations/fake_cluster.h"
#include "tests/unit/reservations/scratch.h"

namespace stint::reservations {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr std::uint32_t kJob = 7;
constexpr std::uint32_t kUser = 1000;

sys_seconds at(int second) {
  return sys_seconds{seconds{second}};
}

// The plan sft on node1 and node2: 1000 to 1600, and 3000 to 3600.
class ShepherdTest : public testing::Test {
 protected:
  ShepherdTest() : ledger_(scratch_.file("ledger.db")) {
    plan_.name = "sft";
    plan_.owner = "alice";
    plan_.owner_uid = kUser;
    plan_.users = {"alice"};
    plan_.uids = {kUser};
    plan_.kind.partition = "main";
    plan_.nodes = 2;
    cluster_.now = 1'010;
    book({{"sft.0", at(1'000), at(1'600), nodes_}, {"sft.1", at(3'000), at(3'600), nodes_}});
    restart_stintd();
  }

  void book(std::vector<Segment> segments) {
    plan_.segments = std::move(segments);
    plan_.id = ledger_.add_plan(plan_);
    plan_.phase = Phase::kBooked;
    ledger_.set_phase(plan_);
    for (const auto& s : plan_.segments)
      cluster_.reservations_[s.reservation] = {s.reservation, s.start, s.end, s.nodes, {"alice"}, "main"};
  }
  void restart_stintd() {
    shepherd_ =
        std::make_unique<Shepherd>(cluster_, ledger_, metrics_, settings_, [this] { return cluster_.now; });
  }
  void tend_at(double time) {
    cluster_.now = time;
    shepherd_->tend_once();
  }
  ClusterJob& job() { return cluster_.jobs_[kJob]; }
  ClusterJob& add_running(const std::string& tag = "stint plan=sft") {
    auto& job = cluster_.add_job(kJob, nodes_, "sft.0", tag);
    job.started = at(1'005);
    job.end = at(1'545);
    job.time_limit = minutes{9};
    return job;
  }
  ClusterJob& add_pending(const std::string& reservation = "sft.0",
                          const std::string& tag = "stint plan=sft") {
    auto& job = cluster_.add_job(kJob, {}, reservation, tag);
    job.state = JobState::kPending;
    job.time_limit = minutes{9};
    return job;
  }
  std::vector<std::string> event_names() {
    std::vector<std::string> names;
    for (const auto& event : ledger_.events(kJob)) names.push_back(event.event);
    return names;
  }
  int count(const std::string& call) {
    return static_cast<int>(std::count(cluster_.calls.begin(), cluster_.calls.end(), call));
  }
  int refusal_of_window(std::uint32_t id, std::uint32_t uid) {
    try {
      shepherd_->window(id, uid);
    } catch (const Refusal& refusal) {
      return refusal.status();
    }
    return 200;
  }

  std::vector<std::string> nodes_{"node1", "node2"};
  Scratch scratch_;
  FakeCluster cluster_{8};
  Ledger ledger_;
  Metrics metrics_;
  ShepherdSettings settings_;
  Plan plan_;
  std::unique_ptr<Shepherd> shepherd_;
};

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

TEST_F(ShepherdTest, AWishThatTheSegmentCutIsNoReasonNotToSendItOn) {
  auto& job = add_running("stint plan=sft time=60");
  tend_at(1'010);
  EXPECT_EQ(job.end, at(1'600));
  tend_at(1'591);
  EXPECT_EQ(job.restart, 1U);
  EXPECT_EQ(job.reservation, "sft.1");
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
