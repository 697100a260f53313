// SPDX-License-Identifier: Apache-2.0
// A plan's jobs have the plan's nodes; its spares stay free.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reservations/course.h"
#include "reservations/kill_point.h"
#include "reservations/shepherd.h"
#include "tests/unit/reservations/fake_cluster.h"
#include "tests/unit/reservations/scratch.h"

namespace stint::reservations {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

sys_seconds at(int second) {
  return sys_seconds{seconds{second}};
}

// The plan sft: two nodes and a spare, from 1000 to 4600.
class SparesTest : public testing::Test {
 protected:
  SparesTest() : ledger_(scratch_.file("ledger.db")) {
    Plan plan;
    plan.name = "sft";
    plan.owner = "alice";
    plan.users = {"alice"};
    plan.kind.partition = "main";
    plan.nodes = 2;
    plan.spares = 1;
    plan.segments = {{"sft.0", at(1'000), at(4'600), {"node1", "node2", "node3"}}};
    plan.id = ledger_.add_plan(plan);
    plan.phase = Phase::kBooked;
    ledger_.set_phase(plan);
    restart_stintd();
  }
  void restart_stintd() {
    shepherd_ = std::make_unique<Shepherd>(cluster_, ledger_, metrics_, ShepherdSettings{},
                                           [this] { return cluster_.now; });
  }
  ClusterJob& add(std::uint32_t id, std::vector<std::string> nodes, int time) {
    auto& job = cluster_.add_job(id, std::move(nodes), "sft.0", "stint plan=sft");
    job.started = job.queued = at(time);
    job.end = at(4'600);
    job.time_limit = minutes{9};
    job.node_count = 1;
    job.batch = job.requeue = true;
    if (job.nodes.empty()) job.state = JobState::kPending;
    return job;
  }
  // Jobs on both of its nodes.
  void fill() {
    cluster_.now = 1'100;
    add(1, {"node1"}, 1'001);
    add(2, {"node2"}, 1'002);
  }
  void tend() {
    cluster_.now += 3;
    shepherd_->tend_once();
  }
  std::vector<std::string> events(std::uint32_t id) {
    std::vector<std::string> names;
    for (const auto& event : ledger_.events(id)) names.push_back(event.event);
    return names;
  }

  Scratch scratch_;
  FakeCluster cluster_{4};
  Ledger ledger_;
  Metrics metrics_;
  std::unique_ptr<Shepherd> shepherd_;
  std::uint32_t next_ = 3;
};

TEST_F(SparesTest, WhatWaitsBehindTheLastNodeIsHeldUntilOneIsFree) {
  fill();
  add(3, {}, 1'003);
  tend();
  EXPECT_TRUE(cluster_.jobs_[3].held);
  EXPECT_THAT(cluster_.jobs_[3].admin_comment, HasSubstr("its spares stay free for failures"));
  tend();
  cluster_.jobs_[2].state = JobState::kFinished;
  tend();
  EXPECT_FALSE(cluster_.jobs_[3].held);
  EXPECT_EQ(cluster_.jobs_[3].admin_comment, "stint plan=sft");
}

TEST_F(SparesTest, WhatSlurmStartedOnASpareGoesBackIntoTheQueue) {
  fill();
  add(3, {"node3"}, 1'003);
  tend();
  EXPECT_THAT(events(3), ElementsAre("sent_back"));
  EXPECT_EQ(cluster_.jobs_[3].restart, 1U);
  EXPECT_EQ(cluster_.jobs_[1].restart + cluster_.jobs_[2].restart, 0U);
}

TEST_F(SparesTest, WhatWentBackIsHeldSoThatItDoesNotBeginThereAgain) {
  fill();
  add(3, {"node3"}, 1'003);
  tend();
  EXPECT_TRUE(cluster_.jobs_[3].held);
  cluster_.jobs_[3].state = JobState::kPending;
  tend();
  EXPECT_TRUE(cluster_.jobs_[3].held);
  EXPECT_THAT(cluster_.jobs_[3].admin_comment, HasSubstr("its spares stay free for failures"));
  cluster_.jobs_[2].state = JobState::kFinished;
  tend();
  EXPECT_FALSE(cluster_.jobs_[3].held);
  EXPECT_EQ(cluster_.jobs_[3].admin_comment, "stint plan=sft");
}

TEST_F(SparesTest, WhatWentBackDoesNotOvertakeWhatLosesItsNode) {
  fill();
  add(3, {"node3"}, 1'003);
  tend();
  cluster_.jobs_[3].state = JobState::kPending;
  cluster_.requeue(cluster_.jobs_[1]);  // its node died
  cluster_.jobs_[1].state = JobState::kPending;
  ASSERT_LT(cluster_.jobs_[3].queued, cluster_.jobs_[1].queued + seconds{1});
  tend();
  EXPECT_TRUE(cluster_.jobs_[3].held);
  EXPECT_FALSE(cluster_.jobs_[1].held);
}

TEST_F(SparesTest, KilledAtAnyPointTheNextStintdSendsItBackOnceAndHeld) {
  for (const char* point : {"ledger.add_event", "slurm.set_job_admin_comment", "slurm.requeue_job_held"}) {
    SCOPED_TRACE(point);
    cluster_.jobs_.clear();
    fill();
    const auto id = next_++;
    add(id, {"node3"}, 1'003);
    set_kill_handler([&](std::string_view at) {
      if (at == point) throw FakeCluster::Killed();
    });
    EXPECT_THROW(tend(), FakeCluster::Killed);
    set_kill_handler({});
    restart_stintd();
    tend();
    cluster_.jobs_[id].state = JobState::kPending;
    tend();
    EXPECT_THAT(events(id), ElementsAre("sent_back"));
    EXPECT_EQ(cluster_.jobs_[id].restart, 1U);
    EXPECT_TRUE(cluster_.jobs_[id].held);
    cluster_.jobs_[2].state = JobState::kFinished;
    tend();
    EXPECT_FALSE(cluster_.jobs_[id].held);
  }
}

TEST_F(SparesTest, OneThatCannotBeRequeuedIsCancelledAndItsEventsSayWhy) {
  cluster_.now = 1'100;
  add(1, {"node1", "node2"}, 1'001);
  add(3, {"node3"}, 1'003).batch = false;
  tend();
  EXPECT_THAT(events(3), ElementsAre("sent_back"));
  EXPECT_THAT(ledger_.events(3).front().detail, HasSubstr("it is cancelled"));
  EXPECT_NE(cluster_.jobs_[3].state, JobState::kRunning);
  EXPECT_EQ(
      cluster_.told[3],
      "stint: job 3: no node of plan sft is left, and its spares stay free for failures; it is cancelled");
}

TEST_F(SparesTest, AReplacementOfADeadNodeIsNoCrowd) {
  cluster_.now = 1'100;
  add(1, {"node2", "node3"}, 1'001);  // node1 was lost
  tend();
  EXPECT_THAT(events(1), Not(testing::Contains("sent_back")));
}

TEST(WithoutPlace, TheFirstInTheQueueHaveIt) {
  ClusterJob running, wide, narrow;
  running.id = 1;
  running.state = JobState::kRunning;
  running.nodes = {"a"};
  wide.id = 2;
  wide.node_count = 2;
  wide.queued = at(1);
  narrow.id = 3;
  narrow.node_count = 1;
  narrow.queued = at(2);
  EXPECT_THAT(without_place({&narrow, &wide, &running}, 3, {}), ElementsAre(3));
  EXPECT_THAT(without_place({&narrow, &wide, &running}, 2, {}), ElementsAre(2));
  EXPECT_THAT(without_place({&narrow, &wide, &running}, 4, {}), IsEmpty());
}

TEST(WithoutPlace, WhatLostItsNodeIsNotOvertakenByWhatWaitedForIt) {
  ClusterJob running, requeued, waiting;
  running.id = 1;
  running.state = JobState::kRunning;
  running.nodes = {"a"};
  requeued.id = 2;
  requeued.node_count = 1;
  requeued.queued = at(100);
  waiting.id = 3;
  waiting.node_count = 1;
  waiting.queued = at(50);
  EXPECT_THAT(without_place({&running, &waiting, &requeued}, 2, {2}), ElementsAre(3));
}

}  // namespace
}  // namespace stint::reservations
