// SPDX-License-Identifier: Apache-2.0
// A worker as its agent knows it. For the agent's own sources.
#pragma once

#include <optional>
#include <string>

#include "trainer/agent/agent.h"

namespace stint::agent {

struct Agent::Worker {
  explicit Worker(const WorkerCommand& command) : process(command) {}
  WorkerProcess process;
  int local = 0;
  std::string address;
  std::size_t shared_bytes = 0;
  bool channel_open = true;
  bool accuses = false;  // reported a lost peer: its own end is a consequence
  std::string error;
  std::optional<int> status;
};

}  // namespace stint::agent
