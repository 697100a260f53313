// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "trainer/agent/setup.h"

namespace stint::agent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Variables = std::map<std::string, std::string>;

Environment environment(const Variables& variables) {
  return [&variables](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
}

const Variables kBatchScript{{"SLURM_JOB_ID", "12"}, {"SLURM_PROCID", "0"}};
const Variables kStep{{"SLURM_JOB_ID", "12"},        {"SLURM_STEP_ID", "3"},
                      {"SLURMD_NODENAME", "node2"},  {"SLURM_STEP_NODELIST", "node[1-2,5]"},
                      {"SLURM_STEP_NUM_TASKS", "3"}, {"SLURM_TOPOLOGY_ADDR", "spine.leaf1.node2"},
                      {"SLURM_RESTART_COUNT", "1"}};

Variables with(Variables variables, const std::string& name, const std::string& value) {
  variables[name] = value;
  return variables;
}

Role role(const Variables& variables) {
  return role_of(environment(variables));
}
agent::Setup setup(const Variables& variables) {
  return read_setup(environment(variables), "host");
}

TEST(Setup, TellsABatchScriptFromAStep) {
  EXPECT_EQ(role({}), Role::kNone);
  EXPECT_EQ(role(kBatchScript), Role::kBatch);
  EXPECT_EQ(role(kStep), Role::kAgent);
  EXPECT_EQ(role(with(kBatchScript, "STINT_ROLE", "agent")), Role::kAgent);
  EXPECT_EQ(role(with(kBatchScript, "SLURM_STEP_ID", "4294967290")), Role::kBatch)
      << "salloc's interactive step";
}

TEST(Setup, ReadsTheStep) {
  const agent::Setup found = setup(with(with(kStep, "STINT_ROLE", "agent"), "STINT_ATTEMPT", "4"));
  EXPECT_THAT(found.nodes, ElementsAre("node1", "node2", "node5"));
  EXPECT_EQ(found.index, 1U);
  EXPECT_EQ(found.topology, "spine.leaf1.node2");
  EXPECT_EQ(found.rendezvous_name(), "12.1.4");
  EXPECT_EQ(found.epoch(), 5U);
  EXPECT_TRUE(found.supervised);
}

TEST(Setup, StepsStartedByHandDoNotMeet) {
  EXPECT_EQ(setup(kStep).rendezvous_name(), "12.1.3");
  EXPECT_EQ(setup(with(kStep, "SLURM_STEP_ID", "4")).rendezvous_name(), "12.1.4");
  EXPECT_FALSE(setup(kStep).supervised);
}

void expect_refusal(const Variables& variables, const std::string& part) {
  try {
    setup(variables);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(part));
  }
}

TEST(Setup, RefusesWhatIsNoStepOfOneAgentANode) {
  expect_refusal({}, "not in a Slurm step");
  expect_refusal(with(kStep, "SLURM_STEP_NUM_TASKS", "6"), "--ntasks-per-node=1");
  expect_refusal(with(kStep, "SLURMD_NODENAME", "node9"), "node9");
  expect_refusal(with(kStep, "SLURM_RESTART_COUNT", "many"), "SLURM_RESTART_COUNT");
}

}  // namespace
}  // namespace stint::agent
