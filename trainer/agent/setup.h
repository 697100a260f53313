// SPDX-License-Identifier: Apache-2.0
// Where this process stands: in a batch script (it starts the step), in a step (it is an agent), or in
// neither; and what an agent must know of its step. Read from the environment once; pure given a lookup.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace stint::agent {

// getenv, or a map in tests; nullptr: not set.
using Environment = std::function<const char*(const char*)>;

// Between the program as the one who starts a step and the program as an agent in it.
inline constexpr char kRoleEnv[] = "STINT_ROLE";           // "agent"
inline constexpr char kAttemptEnv[] = "STINT_ATTEMPT";     // 0, 1, … within one start of the job
inline constexpr char kRunEnv[] = "STINT_RUN_DIRECTORY";   // absolute
inline constexpr char kWorkerEnv[] = "STINT_WORKER";       // the worker program, else it is searched
inline constexpr char kLocalJobEnv[] = "STINT_LOCAL_JOB";  // --local: a name in place of a job id
inline constexpr char kLocalNodesEnv[] = "STINT_LOCAL_NODES";
inline constexpr char kLocalIndexEnv[] = "STINT_LOCAL_INDEX";

enum class Role { kAgent, kBatch, kNone };
Role role_of(const Environment& environment);

struct Setup {
  std::string node;                // unique in the step
  std::string host;                // the machine: equal for agents that share its cores
  std::vector<std::string> nodes;  // of the step, in its order
  std::size_t index = 0;           // nodes[index] == node
  std::string job;
  int restart = 0;
  int attempt = 0;
  std::string topology;          // SLURM_TOPOLOGY_ADDR, "spine.leaf1.node1"; may be empty
  std::string topology_pattern;  // SLURM_TOPOLOGY_ADDR_PATTERN, "switch.switch.node"; may be empty
  std::string plan;              // may be empty
  std::string service_address;   // stintd's host:port; may be empty
  bool supervised = false;       // somebody outside the step restarts it and writes the report

  std::uint32_t epoch() const { return static_cast<std::uint32_t>(attempt) + 1; }
  // The rendezvous folder of this attempt: "<job>.<restart>.<attempt>".
  std::string rendezvous_name() const;
};

// Throws Error that names the variable: not in a step, more than one task a node, a malformed list.
Setup read_setup(const Environment& environment, const std::string& host);

}  // namespace stint::agent
