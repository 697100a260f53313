// SPDX-License-Identifier: Apache-2.0
// Health checks of a plan's nodes: which nodes are bad, drained and swapped, and which are not.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "reservations/kill_point.h"
#include "tests/unit/reservations/opener_fixture.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::UnorderedElementsAre;

TEST_F(OpenerTest, ABadNodeIsDrainedAndReplacedFromOutsideThePlanAndItsSubstituteIsChecked) {
  bad = {"node2"};
  book(seconds{120});
  ticks(20);
  EXPECT_TRUE(cluster_.find_node("node2").drained);
  EXPECT_EQ(cluster_.find_node("node2").reason,
            "stint: health check: its health check ended with status 1; verify");
  EXPECT_THAT(nodes(), UnorderedElementsAre("node1", "node3", "node4", "node5"));
  EXPECT_THAT(prepared(), UnorderedElementsAre("node1", "node3", "node4", "node5"));
  EXPECT_THAT(checked(), Contains("node5"));
  ticks(100);
  EXPECT_THAT(lines("opened"),
              ElementsAre("segment 0: node[1,3-5] checked: good; node2 is bad (its health check ended with "
                          "status 1) and was replaced"));
  EXPECT_THAT(lines("node swapped"), ElementsAre("node2 is replaced by node5"));
}

TEST_F(OpenerTest, OpeningsTogetherDrainNoMoreThanAQuarterOfTheClusterOrTwo) {
  for (const auto& node : cluster_.nodes_) bad.insert(node.name);
  for (const auto* name : {"one", "two", "three"}) {
    auto wanted = request(name, 2, 0);
    wanted.start = now() + seconds{120};
    book_->create(wanted, kRoot);
  }
  ticks(60);
  EXPECT_EQ(drained(), 2);
  // Given back, a node counts no more.
  for (auto& node : cluster_.nodes_) node.drained = false;
  ticks(10);
  EXPECT_EQ(drained(), 2);
}

TEST_F(OpenerTest, WhatTheNodeSaysOfItselfIsTheReason) {
  bad = {"node2"};
  book(seconds{120});
  ticks(2);
  std::uint32_t id = 0;
  for (const auto& [number, job] : cluster_.jobs_) id = job.name == check_job_name("node2") ? number : id;
  opener_->take_findings(id, "node2", "disk: /tmp is full", FakeCluster::kSlurmUid);
  ticks(6);
  EXPECT_EQ(cluster_.find_node("node2").reason, "stint: health check: disk: /tmp is full; verify");
}

TEST_F(OpenerTest, WhatTheNodeSaidOfItselfOutlivesTheStintdThatHeardIt) {
  bad = {"node2"};
  book(seconds{120});
  ticks(2);
  std::uint32_t id = 0;
  for (const auto& [number, job] : cluster_.jobs_) id = job.name == check_job_name("node2") ? number : id;
  set_kill_handler([](std::string_view at) {
    if (at == "ledger.note_findings") throw FakeCluster::Killed();
  });
  EXPECT_THROW(opener_->take_findings(id, "node2", "disk: full", FakeCluster::kSlurmUid),
               FakeCluster::Killed);
  set_kill_handler({});
  restart();
  ticks(6);
  EXPECT_EQ(cluster_.find_node("node2").reason, "stint: health check: disk: full; verify");
}

TEST_F(OpenerTest, OnlyItsOwnCheckMaySpeakForANode) {
  book(seconds{120});
  ticks(2);
  add_stranger("node8", 77);
  std::uint32_t id = 0;
  for (const auto& [number, job] : cluster_.jobs_) id = job.name == check_job_name("node2") ? number : id;
  const auto status_of = [&](std::uint32_t job, const std::string& node, std::uint32_t uid) {
    return status([&] { opener_->take_findings(job, node, "disk: full", uid); });
  };
  EXPECT_EQ(status_of(id, "node2", 1'000), 403);
  EXPECT_EQ(status_of(id, "node1", kRoot), 404);
  EXPECT_EQ(status_of(77, "node8", kRoot), 404);
  EXPECT_EQ(status_of(4'711, "node2", kRoot), 404);
  cluster_.jobs_[id].uid = 1'000;  // somebody else's of the same name
  EXPECT_EQ(status_of(id, "node2", kRoot), 404);
  cluster_.jobs_[id].uid = FakeCluster::kSlurmUid;
  EXPECT_EQ(status_of(id, "node2", kRoot), 200);
}

TEST_F(OpenerTest, ACheckThatHangsIsABadNode) {
  hanging = {"node3"};
  book(seconds{120});
  ticks(30);
  EXPECT_THAT(cluster_.find_node("node3").reason, HasSubstr("did not end within"));
  EXPECT_THAT(nodes(), Not(Contains("node3")));
  EXPECT_EQ(live_checks(), 0);
}

TEST_F(OpenerTest, WhatAHangingCheckSaysWhenItIsEndedIsTooLate) {
  hanging = {"node3"};
  book(seconds{120});
  ticks(2);
  std::uint32_t id = 0;
  for (const auto& [number, job] : cluster_.jobs_) id = job.name == check_job_name("node3") ? number : id;
  ticks(30);
  opener_->take_findings(id, "node3", "clock: hangs", kRoot);
  ticks(90);
  EXPECT_THAT(lines("opened").at(0), HasSubstr("node3 is bad (its health check did not end within 20 s)"));
}

TEST_F(OpenerTest, ACheckWhoseLimitReachesIntoTheSegmentDoesNotKeepOtherNodesFromBeingSwapped) {
  bad = {"node2"};
  hanging = {"node3"};
  book(seconds{50});
  ticks(12);
  EXPECT_THAT(nodes(), Not(Contains("node2")));
  EXPECT_EQ(live_checks(), 1);
}

TEST_F(OpenerTest, ACheckThatCannotBeEndedDoesNotKeepTheNodeInThePlan) {
  hanging = {"node3"};
  cluster_.cancels_work = false;
  book(seconds{120});
  ticks(30);
  EXPECT_THAT(nodes(), Not(Contains("node3")));
}

TEST_F(OpenerTest, WhereNothingElseIsFreeTheBadNodeStaysAndHistorySaysSo) {
  book(seconds{60}, 7, 1);
  bad = {"node8"};
  ticks(61);
  EXPECT_THAT(nodes(), Contains("node8"));
  ASSERT_EQ(lines("opened").size(), 1U);
  EXPECT_THAT(lines("opened")[0],
              HasSubstr("node8 is bad (its health check ended with status 1) and stays: no "
                        "other node is free"));
}

TEST_F(OpenerTest, ACheckThatFailsEverywhereDrainsOnlyAFew) {
  book(seconds{120});
  for (int i = 1; i <= 8; ++i) bad.insert(fmt::format("node{}", i));
  ticks(121);
  EXPECT_EQ(drained(), 2);
  ASSERT_EQ(lines("opened").size(), 1U);
  EXPECT_THAT(
      lines("opened")[0],
      HasSubstr("health checks drain at most a quarter of a plan's nodes, and of the cluster's, or two; "
                "look whether the check is at fault"));
}

TEST_F(OpenerTest, WhereSlurmRefusesTheJobItIsSaidOnceAndGoesOnWithout) {
  cluster_.refuses_node_jobs = true;
  book(seconds{60});
  ticks(61);
  EXPECT_EQ(std::count(cluster_.calls.begin(), cluster_.calls.end(), "submit"), 1);
  EXPECT_FALSE(reserved());
  EXPECT_THAT(
      lines("opening skipped"),
      ElementsAre("segment 0: node[1-4] not checked: Slurm refuses the health check's job: Invalid account"));
}

TEST_F(OpenerTest, AChecksTimeDuringWhichSlurmctldWasAwayDoesNotCountAgainstItsNode) {
  hanging = {"node1", "node2", "node3", "node4"};  // they ended, but slurmctld has not heard of it
  book(seconds{300});
  ticks(3);
  cluster_.away = true;
  for (int i = 0; i < 60; ++i) {
    cluster_.now += 1;
    EXPECT_THROW(opener_->tend_once(), ClusterError);
  }
  cluster_.away = false;
  ticks(2);
  hanging.clear();
  ticks(5);
  EXPECT_EQ(shown(), "goes on: node[1-4] checked: good");
  EXPECT_THAT(cluster_.calls, Not(Contains("drain")));
}

TEST_F(OpenerTest, ACheckThatSlurmCutsOffEarlyIsNoBadNode) {
  hanging = {"node1"};
  book(seconds{120});
  ticks(5);
  for (auto& [id, job] : cluster_.jobs_) {
    if (job.name != check_job_name("node1")) continue;
    job.state = JobState::kFinished;
    job.timed_out = true;
    job.end = now();
  }
  cluster_.find_node("node1").idle = true;
  ticks(112);
  EXPECT_FALSE(cluster_.find_node("node1").drained);
  EXPECT_THAT(
      lines("opened"),
      ElementsAre("segment 0: node[2-4] checked: good; node1 not checked: its health check was cut off"));
}

}  // namespace
}  // namespace stint::reservations
