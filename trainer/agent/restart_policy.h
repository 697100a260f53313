// SPDX-License-Identifier: Apache-2.0
// What follows when an attempt (one step of the job) has ended: nothing, the next attempt, a requeue, or
// giving up. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/agent/agent.h"

namespace stint::agent {

struct AttemptEnd {
  int exit_code = 0;              // of srun: the highest of its tasks
  std::vector<Outcome> outcomes;  // of the agents that could still say
  bool finished = false;          // the log says that the last step was reached
  std::int64_t checkpoint = -1;   // newest one's step; -1: none
};

enum class Next { kFinished, kRestart, kRequeue, kGiveUp };

struct Decision {
  Next next = Next::kRestart;
  std::string why;
  bool explained = false;  // an agent said why, and no node is suspected: Slurm has no part in it
};

class RestartPolicy {
 public:
  // At most `max_restarts` restarts in a row without a newer checkpoint than before; `restarts` of them have
  // been made already, before the job was requeued.
  RestartPolicy(std::int64_t max_restarts, std::int64_t checkpoint, std::int64_t restarts = 0)
      : max_restarts_(max_restarts), checkpoint_(checkpoint), restarts_(restarts) {}

  Decision decide(const AttemptEnd& end);
  std::int64_t restarts() const { return restarts_; }
  std::int64_t max_restarts() const { return max_restarts_; }

 private:
  std::int64_t max_restarts_;
  std::int64_t checkpoint_;
  std::int64_t restarts_;
};

}  // namespace stint::agent
