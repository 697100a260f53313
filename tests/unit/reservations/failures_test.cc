// SPDX-License-Identifier: Apache-2.0
#include "reservations/failures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/reservations/fake_cluster.h"
#include "tests/unit/reservations/scratch.h"

namespace stint::reservations {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// Nodes answer unless they are named here.
class FakeProber : public Prober {
 public:
  std::vector<Answer> probe(const std::vector<ProbeTarget>& targets, std::chrono::milliseconds) override {
    std::vector<Answer> answers;
    for (const auto& target : targets) {
      const auto found = bad.find(target.node);
      answers.push_back(found == bad.end() ? Answer::kAlive : found->second);
    }
    return answers;
  }
  std::map<std::string, Answer> bad;
};

class FailuresTest : public testing::Test {
 protected:
  static constexpr std::uint32_t kUser = 1000;
  static constexpr std::uint32_t kJob = 7;

  FailuresTest() : ledger_(scratch_.file("ledger.db")) {
    cluster_.now = 1'000;
    cluster_.add_job(kJob, {"node1", "node2", "node3"}, "demo.0");
    restart_stintd();
  }

  void restart_stintd() {
    failures_ = std::make_unique<Failures>(cluster_, ledger_, metrics_, prober_, FailureSettings{},
                                           [this] { return cluster_.now; });
  }
  // One round of everything that happens in 0.2 s.
  void round() {
    cluster_.now += 0.2;
    failures_->watch_once();
    failures_->recover_once();
    cluster_.schedule(restart_on_);
  }
  void rounds(int count) {
    for (int i = 0; i < count; ++i) round();
  }
  std::vector<std::string> event_names() {
    std::vector<std::string> names;
    for (const auto& event : ledger_.events(kJob)) names.push_back(event.event);
    return names;
  }
  int refusal_status(std::uint32_t job, const std::string& node, std::uint32_t uid) {
    try {
      failures_->report(job, node, "heartbeat", uid);
    } catch (const Refusal& refusal) {
      return refusal.status();
    }
    return 200;
  }

  std::vector<std::string> restart_on_{"node1", "node2", "node4"};
  Scratch scratch_;
  FakeCluster cluster_{8};
  Ledger ledger_;
  Metrics metrics_;
  FakeProber prober_;
  std::unique_ptr<Failures> failures_;
};

TEST_F(FailuresTest, JobOfADeadNodeRunsAgainWithoutItInSeconds) {
  prober_.bad["node3"] = Answer::kSilent;
  rounds(40);
  const auto& job = cluster_.jobs_[kJob];
  EXPECT_EQ(job.state, JobState::kRunning);
  EXPECT_EQ(job.restart, 1U);
  EXPECT_THAT(job.excluded_nodes, ElementsAre("node3"));
  EXPECT_TRUE(cluster_.find_node("node3").down);
  EXPECT_THAT(cluster_.find_node("node3").reason, HasSubstr("stint: slurmd does not answer (job 7)"));
  EXPECT_THAT(event_names(),
              ElementsAre("node_failed", "node_down", "requeued", "excluded", "eligible", "started"));
  EXPECT_TRUE(ledger_.open_recoveries().empty());
}

TEST_F(FailuresTest, AClockThatIsSetBackStopsNoRecovery) {
  prober_.bad["node3"] = Answer::kSilent;
  while (cluster_.jobs_[kJob].state != JobState::kPending) round();
  const auto wait = [&](int looks) {  // for nodes, so long that it is looked at less often
    for (int i = 0; i < looks; ++i) {
      cluster_.now += 0.2;
      failures_->recover_once();
    }
  };
  wait(200);
  cluster_.jobs_[kJob].excluded_nodes.clear();
  cluster_.now -= 300;
  wait(3);
  EXPECT_THAT(cluster_.jobs_[kJob].excluded_nodes, ElementsAre("node3"));
}

TEST_F(FailuresTest, JobNeverStartsInTheSecondOfItsRequeue) {
  prober_.bad["node3"] = Answer::kSilent;
  rounds(40);
  EXPECT_GE(cluster_.started_after, std::chrono::seconds{2});
  EXPECT_LE(cluster_.started_after, std::chrono::seconds{4});
}

TEST_F(FailuresTest, UpdatesThatDoNotHoldAreMadeAgain) {
  prober_.bad["node3"] = Answer::kSilent;
  cluster_.updates_to_lose = 3;
  rounds(40);
  EXPECT_EQ(cluster_.jobs_[kJob].state, JobState::kRunning);
  EXPECT_THAT(cluster_.jobs_[kJob].excluded_nodes, ElementsAre("node3"));
}

TEST_F(FailuresTest, ARestartOfSlurmdIsNoDeathUnlessTheJobMissesTheNode) {
  prober_.bad["node3"] = Answer::kRefused;
  rounds(45);  // 9 s
  EXPECT_FALSE(cluster_.find_node("node3").down);
  EXPECT_EQ(failures_->report(kJob, "node3", "heartbeat", kUser).verdict, "down");
  rounds(2);
  EXPECT_TRUE(cluster_.find_node("node3").down);
}

TEST_F(FailuresTest, ASlurmdThatDoesNotComeBackIsDead) {
  prober_.bad["node3"] = Answer::kRefused;
  rounds(55);
  EXPECT_TRUE(cluster_.find_node("node3").down);
}

TEST_F(FailuresTest, OneBadAnswerChangesNothing) {
  prober_.bad["node3"] = Answer::kSilent;
  round();
  prober_.bad.clear();
  rounds(10);
  EXPECT_EQ(cluster_.jobs_[kJob].restart, 0U);
  EXPECT_FALSE(cluster_.find_node("node3").down);
}

TEST_F(FailuresTest, JobsWithoutOurTagAreNotTouched) {
  cluster_.jobs_[kJob].admin_comment = "somebody's";
  prober_.bad["node3"] = Answer::kSilent;
  rounds(10);
  EXPECT_FALSE(cluster_.find_node("node3").down);
}

TEST_F(FailuresTest, TwoNodesLostTogetherAreBothExcluded) {
  restart_on_ = {"node1", "node4", "node5"};
  prober_.bad["node2"] = Answer::kSilent;
  prober_.bad["node3"] = Answer::kSilent;
  rounds(40);
  EXPECT_EQ(cluster_.jobs_[kJob].restart, 1U);
  EXPECT_THAT(cluster_.jobs_[kJob].excluded_nodes, testing::UnorderedElementsAre("node2", "node3"));
}

TEST_F(FailuresTest, ARecoveryIsFinishedByTheNextStintdWhereverTheFirstWasKilled) {
  for (int killed_after = 1; killed_after < 15; ++killed_after) {
    cluster_.jobs_.clear();
    const auto id = static_cast<std::uint32_t>(100 + killed_after);
    cluster_.add_job(id, {"node1", "node2", "node3"}, "demo.0");
    cluster_.find_node("node3").down = cluster_.find_node("node3").drained = false;
    prober_.bad["node3"] = Answer::kSilent;
    rounds(killed_after);
    restart_stintd();
    rounds(40);
    EXPECT_EQ(cluster_.jobs_[id].state, JobState::kRunning) << killed_after;
    EXPECT_EQ(cluster_.jobs_[id].restart, 1U) << killed_after;
    EXPECT_THAT(cluster_.jobs_[id].excluded_nodes, ElementsAre("node3")) << killed_after;
    EXPECT_TRUE(ledger_.open_recoveries().empty()) << killed_after;
  }
}

TEST_F(FailuresTest, AnAbsentControllerDelaysARecoveryButDoesNotLoseIt) {
  prober_.bad["node3"] = Answer::kSilent;
  rounds(2);
  ASSERT_EQ(ledger_.open_recoveries().size(), 1U);
  cluster_.away = true;
  for (int i = 0; i < 10; ++i) {
    cluster_.now += 0.2;
    failures_->recover_once();
  }
  cluster_.away = false;
  rounds(60);
  EXPECT_EQ(cluster_.jobs_[kJob].state, JobState::kRunning);
  EXPECT_EQ(cluster_.jobs_[kJob].restart, 1U);
}

TEST_F(FailuresTest, AControllerThatForgotTheFailureIsToldAgain) {
  for (int forgets_after = 2; forgets_after < 14; ++forgets_after) {
    cluster_.jobs_.clear();
    const auto id = static_cast<std::uint32_t>(200 + forgets_after);
    const ClusterJob before = cluster_.add_job(id, {"node1", "node2", "node3"}, "demo.0");
    cluster_.find_node("node3").down = cluster_.find_node("node3").drained = false;
    prober_.bad["node3"] = Answer::kSilent;
    rounds(forgets_after);
    if (cluster_.jobs_[id].state == JobState::kRunning && cluster_.jobs_[id].restart == 1) break;
    cluster_.jobs_[id] = before;
    cluster_.find_node("node3").down = cluster_.find_node("node3").drained = false;
    rounds(60);
    EXPECT_EQ(cluster_.jobs_[id].state, JobState::kRunning) << forgets_after;
    EXPECT_EQ(cluster_.jobs_[id].restart, 1U) << forgets_after;
    EXPECT_THAT(cluster_.jobs_[id].excluded_nodes, ElementsAre("node3")) << forgets_after;
    EXPECT_TRUE(ledger_.open_recoveries().empty()) << forgets_after;
  }
}

TEST_F(FailuresTest, SlurmsOwnRequeueIsShortenedToo) {
  round();
  cluster_.set_node_down("node3", "Not responding");
  rounds(40);
  EXPECT_EQ(cluster_.jobs_[kJob].state, JobState::kRunning);
  EXPECT_THAT(cluster_.jobs_[kJob].excluded_nodes, ElementsAre("node3"));
  EXPECT_THAT(event_names(), Contains("started"));
}

TEST_F(FailuresTest, AJobThatRequeuesItselfIsNotHeldAndLosesNoNode) {
  round();
  cluster_.requeue(cluster_.jobs_[kJob]);
  rounds(40);
  EXPECT_EQ(cluster_.jobs_[kJob].state, JobState::kRunning);
  EXPECT_TRUE(cluster_.jobs_[kJob].excluded_nodes.empty());
}

TEST_F(FailuresTest, AUsersOwnLaterStartIsLeftAlone) {
  round();
  auto& job = cluster_.jobs_[kJob];
  cluster_.requeue(job);
  job.state = JobState::kPending;
  job.begin = job.queued + std::chrono::hours{8};
  rounds(20);
  EXPECT_EQ(cluster_.jobs_[kJob].begin, job.queued + std::chrono::hours{8});
  EXPECT_THAT(cluster_.calls, Not(Contains("begin")));
}

TEST_F(FailuresTest, AJobThatMayNotBeRequeuedEndsItsRecovery) {
  prober_.bad["node3"] = Answer::kSilent;
  rounds(2);
  cluster_.jobs_[kJob].state = JobState::kFinished;
  rounds(3);
  EXPECT_TRUE(ledger_.open_recoveries().empty());
  EXPECT_TRUE(cluster_.find_node("node3").down);
  EXPECT_THAT(event_names(), Contains("gone"));
}

TEST_F(FailuresTest, AReportIsOnlyAHint) {
  EXPECT_EQ(failures_->report(kJob, "node3", "heartbeat", kUser).verdict, "healthy");
  EXPECT_TRUE(ledger_.open_recoveries().empty());
  prober_.bad["node3"] = Answer::kSilent;
  EXPECT_EQ(failures_->report(kJob, "node3", "heartbeat", kUser).verdict, "down");
  EXPECT_EQ(failures_->report(kJob, "node3", "heartbeat", kUser).verdict, "down");  // and once is enough
  EXPECT_EQ(ledger_.open_recoveries().size(), 1U);
}

TEST_F(FailuresTest, ReportsOfOtherPeopleOrOtherNodesAreRefused) {
  EXPECT_EQ(refusal_status(99, "node3", kUser), 404);
  EXPECT_EQ(refusal_status(kJob, "node3", kUser + 1), 403);
  EXPECT_EQ(refusal_status(kJob, "node8", kUser), 409);
  EXPECT_EQ(refusal_status(kJob, "node3", 0), 200);
  cluster_.jobs_[kJob].admin_comment.clear();
  EXPECT_EQ(refusal_status(kJob, "node3", kUser), 409);
}

TEST_F(FailuresTest, SilenceOfAllNodesIsNoVerdict) {
  for (int i = 1; i <= 8; ++i) prober_.bad["node" + std::to_string(i)] = Answer::kSilent;
  EXPECT_EQ(failures_->report(kJob, "node3", "heartbeat", kUser).verdict, "unknown");
  rounds(10);
  EXPECT_TRUE(ledger_.open_recoveries().empty());
}

}  // namespace
}  // namespace stint::reservations
