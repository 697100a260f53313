// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trainer/agent/restart_policy.h"

namespace stint::agent {
namespace {

using testing::HasSubstr;

AttemptEnd ended(int exit_code, std::vector<Outcome> outcomes = {}, std::int64_t checkpoint = -1) {
  return {exit_code, std::move(outcomes), false, checkpoint};
}

TEST(RestartPolicy, FinishedRunIsFinishedHoweverItsStepEnded) {
  RestartPolicy policy(3, -1);
  EXPECT_EQ(policy.decide({137, {{1, "a worker is gone", {}}}, true, 40}).next, Next::kFinished);
}

TEST(RestartPolicy, AnyAgentsWordWeighsMoreThanTheStepsExitCode) {
  RestartPolicy policy(3, -1);
  EXPECT_EQ(policy.decide(ended(137, {{93, "no such file", {}}, {1, "x", {}}})).next, Next::kGiveUp);
  EXPECT_EQ(policy.decide(ended(143, {{75, "stopped on purpose", {}}})).next, Next::kRequeue);
}

TEST(RestartPolicy, ExitCodesCountWithoutAgents) {
  RestartPolicy policy(3, -1);
  EXPECT_EQ(policy.decide(ended(93)).next, Next::kGiveUp);
  EXPECT_EQ(policy.decide(ended(75)).next, Next::kRequeue);
  const Decision killed = policy.decide(ended(137));
  EXPECT_EQ(killed.next, Next::kRestart);
  EXPECT_FALSE(killed.explained);
  EXPECT_THAT(killed.why, HasSubstr("signal 9"));
}

TEST(RestartPolicy, ExitCodeZeroWithoutAFinishIsAFailure) {
  RestartPolicy policy(0, -1);
  EXPECT_EQ(policy.decide(ended(0)).next, Next::kGiveUp);
}

TEST(RestartPolicy, NamesTheCauseAndNotItsEcho) {
  RestartPolicy policy(3, -1);
  const Decision decision = policy.decide(ended(
      1, {{1, "the agent of node2 left with exit code 1", {}}, {1, "a worker is gone: exit status 7", {}}}));
  EXPECT_TRUE(decision.explained);
  EXPECT_EQ(decision.why, "a worker is gone: exit status 7");
}

TEST(RestartPolicy, GivesUpWithTheCauseAndNotItsEcho) {
  RestartPolicy policy(3, -1);
  const auto decision =
      policy.decide(ended(93, {{93, "the agent of node2 left with exit code 93", {}}, {93, "no data", {}}}));
  EXPECT_EQ(decision.next, Next::kGiveUp);
  EXPECT_EQ(decision.why, "no data");
}

TEST(RestartPolicy, ASuspectedNodeLeavesRoomForSlurm) {
  RestartPolicy policy(3, -1);
  EXPECT_TRUE(policy.decide(ended(1, {{1, "a worker is gone: exit status 7", {}}})).explained);
  EXPECT_FALSE(policy.decide(ended(1, {{1, "no heartbeat for 1s", {"node3"}}})).explained);
}

TEST(RestartPolicy, GivesUpWithoutProgressAndStartsAnewWithIt) {
  RestartPolicy policy(2, 10);
  EXPECT_EQ(policy.decide(ended(1, {}, 10)).next, Next::kRestart);
  EXPECT_EQ(policy.decide(ended(1, {}, 10)).next, Next::kRestart);
  EXPECT_EQ(policy.decide(ended(1, {}, 20)).next, Next::kRestart);
  EXPECT_EQ(policy.decide(ended(1, {}, 20)).next, Next::kRestart);
  const Decision last = policy.decide(ended(1, {}, 20));
  EXPECT_EQ(last.next, Next::kGiveUp);
  EXPECT_THAT(last.why, HasSubstr("2 restarts without a new checkpoint"));
}

TEST(RestartPolicy, RestartsBeforeARequeueCount) {
  RestartPolicy policy(2, 10, 2);
  EXPECT_EQ(policy.decide(ended(1, {}, 10)).next, Next::kGiveUp);
}

TEST(Outcome, SurvivesItsFile) {
  const auto read = parse_outcome(to_json(Outcome{75, "no agent came from node3", {"node3"}}));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->exit_code, 75);
  EXPECT_EQ(read->missing, std::vector<std::string>{"node3"});
  EXPECT_FALSE(parse_outcome({{"why", "x"}}));
  EXPECT_FALSE(parse_outcome(nullptr));
}

}  // namespace
}  // namespace stint::agent
