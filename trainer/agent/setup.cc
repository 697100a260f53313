// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/setup.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/contract.h"
#include "base/error.h"
#include "base/text.h"

namespace stint::agent {
namespace {

std::string value_of(const Environment& environment, const char* name) {
  const char* value = environment(name);
  return value == nullptr ? std::string() : std::string(value);
}

int integer_of(const Environment& environment, const char* name, int fallback) {
  const std::string text = value_of(environment, name);
  if (text.empty()) return fallback;
  try {
    return static_cast<int>(parse_integer(text, 0, std::numeric_limits<int>::max()));
  } catch (const Error& error) {
    fail("{}: {}", name, error.what());
  }
}

// salloc's shell may run in a step of its own (LaunchParameters=use_interactive_step); Slurm's special steps
// have the highest numbers.
bool is_task_step(const std::string& step) {
  constexpr std::int64_t kFirstSpecialStep = 0xfffffff0;
  if (step.empty()) return false;
  return parse_integer(step, 0, std::numeric_limits<std::int64_t>::max()) < kFirstSpecialStep;
}

void read_local_step(const Environment& environment, Setup& setup) {
  const int count = integer_of(environment, kLocalNodesEnv, 0);
  setup.index = static_cast<std::size_t>(integer_of(environment, kLocalIndexEnv, 0));
  setup.job = value_of(environment, kLocalJobEnv);
  for (int i = 0; i < count; ++i) setup.nodes.push_back(fmt::format("local{}", i));
  if (setup.index >= setup.nodes.size()) fail("{}: out of range", kLocalIndexEnv);
  setup.node = setup.nodes[setup.index];
}

void read_slurm_step(const Environment& environment, Setup& setup) {
  setup.job = value_of(environment, "SLURM_JOB_ID");
  setup.node = value_of(environment, "SLURMD_NODENAME");
  setup.topology = value_of(environment, "SLURM_TOPOLOGY_ADDR");
  setup.topology_pattern = value_of(environment, "SLURM_TOPOLOGY_ADDR_PATTERN");
  setup.restart = integer_of(environment, "SLURM_RESTART_COUNT", 0);
  std::string list = value_of(environment, "SLURM_STEP_NODELIST");
  if (list.empty()) list = value_of(environment, "SLURM_JOB_NODELIST");
  if (setup.job.empty() || setup.node.empty() || list.empty()) {
    fail("stint-train: not in a Slurm step (no SLURM_JOB_ID, SLURMD_NODENAME or SLURM_STEP_NODELIST)");
  }
  setup.nodes = parse_host_list(list);
  const int tasks = integer_of(environment, "SLURM_STEP_NUM_TASKS", static_cast<int>(setup.nodes.size()));
  if (tasks != static_cast<int>(setup.nodes.size())) {
    fail("stint-train: the step has {} tasks on {} nodes, wants one agent a node; use --ntasks-per-node=1",
         tasks, setup.nodes.size());
  }
  const auto found = std::find(setup.nodes.begin(), setup.nodes.end(), setup.node);
  if (found == setup.nodes.end()) fail("stint-train: node {} is not in the step's list {}", setup.node, list);
  setup.index = static_cast<std::size_t>(found - setup.nodes.begin());
}

}  // namespace

Role role_of(const Environment& environment) {
  if (value_of(environment, kRoleEnv) == "agent") return Role::kAgent;
  if (value_of(environment, "SLURM_JOB_ID").empty()) return Role::kNone;
  std::string step = value_of(environment, "SLURM_STEP_ID");
  if (step.empty()) step = value_of(environment, "SLURM_STEPID");
  return is_task_step(step) ? Role::kAgent : Role::kBatch;
}

std::string Setup::rendezvous_name() const {
  return fmt::format("{}.{}.{}", job, restart, attempt);
}

Setup read_setup(const Environment& environment, const std::string& host) {
  Setup setup;
  setup.host = host;
  setup.attempt = integer_of(environment, kAttemptEnv, 0);
  setup.supervised = value_of(environment, kRoleEnv) == "agent";
  setup.plan = value_of(environment, contract::kPlanEnv);
  setup.service_address = value_of(environment, contract::kAddressEnv);
  if (environment(kLocalNodesEnv) != nullptr) {
    read_local_step(environment, setup);
  } else {
    read_slurm_step(environment, setup);
    // Two steps of one job, started by hand, must not meet in one folder.
    if (!setup.supervised) setup.attempt = integer_of(environment, "SLURM_STEP_ID", 0);
  }
  return setup;
}

}  // namespace stint::agent
