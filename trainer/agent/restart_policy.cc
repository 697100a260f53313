// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/restart_policy.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/contract.h"

namespace stint::agent {
namespace {

// The first cause among those of interest, not an echo of it ("the agent of … left").
template <typename Matches>
const Outcome* find_cause(const AttemptEnd& end, Matches matches) {
  const Outcome* cause = nullptr;
  for (const Outcome& outcome : end.outcomes) {
    if (!matches(outcome.exit_code)) continue;
    if (cause == nullptr || is_echo(*cause)) cause = &outcome;
  }
  return cause;
}

const Outcome* find_outcome(const AttemptEnd& end, int exit_code) {
  return find_cause(end, [&](int code) { return code == exit_code; });
}

// Slurm may be about to say the same of the node, and to end the job.
bool suspects_a_node(const AttemptEnd& end) {
  return std::any_of(end.outcomes.begin(), end.outcomes.end(),
                     [](const Outcome& outcome) { return !outcome.missing.empty(); });
}

std::string why_of(const Outcome* outcome, const std::string& fallback) {
  return outcome == nullptr ? fallback : outcome->why;
}

}  // namespace

Decision RestartPolicy::decide(const AttemptEnd& end) {
  if (end.finished) return {Next::kFinished, "finished", true};
  const Outcome* fatal = find_outcome(end, contract::kExitDoNotRequeue);
  if (fatal != nullptr || end.exit_code == contract::kExitDoNotRequeue) {
    return {Next::kGiveUp, why_of(fatal, "the run cannot go on; see the messages above"), true};
  }
  const Outcome* requeue = find_outcome(end, contract::kExitRequeue);
  if (requeue != nullptr || end.exit_code == contract::kExitRequeue) {
    return {Next::kRequeue, why_of(requeue, "stopped on purpose"), true};
  }
  const Outcome* cause = find_cause(end, [](int code) { return code != contract::kExitFinished; });
  const std::string why = why_of(cause, fmt::format("the step ended with {}", describe_exit(end.exit_code)));
  const bool explained = cause != nullptr && !suspects_a_node(end);
  if (end.checkpoint > checkpoint_) restarts_ = 0;
  checkpoint_ = std::max(checkpoint_, end.checkpoint);
  if (restarts_ >= max_restarts_) {
    return {Next::kGiveUp,
            fmt::format("{}; {} restarts without a new checkpoint, resilience.max_restarts allows no more",
                        why, restarts_),
            explained};
  }
  ++restarts_;
  return {Next::kRestart, why, explained};
}

}  // namespace stint::agent
