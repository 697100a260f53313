// SPDX-License-Identifier: Apache-2.0
// What becomes of an attempt when another agent leaves or falls silent.
#include <fmt/chrono.h>

#include <algorithm>

#include "base/contract.h"
#include "base/log.h"
#include "trainer/agent/agent_worker.h"

namespace stint::agent {
namespace {

// After stintd said "down", Slurm's SIGTERM should be here at once; this bounds a Slurm that hangs.
constexpr std::chrono::seconds kTermWait{30};
// How long the survivors that do not report wait for the one that does.
constexpr std::chrono::seconds kJudgeWait{60};

bool contains(const std::vector<std::size_t>& list, std::size_t value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

}  // namespace

void Agent::watch_peers() {
  const auto now = Clock::now();
  const Peers::News news = peers_->read(now);
  for (const auto& left : news.left) peer_left(left.node, left.exit_code);
  if (outcome_) return;
  if (news.stop_asked) stop("another agent was asked to");
  const auto silent = peers_->turn(stopping_ ? BeatState::kStopping : BeatState::kAlive, now);
  if (!silent.empty()) peers_silent(silent);
}

void Agent::peer_left(std::size_t node, int exit_code) {
  peers_->depart(node);
  const bool in_order = exit_code == contract::kExitFinished || exit_code == contract::kExitRequeue;
  if (in_order && phase_ == Phase::kTraining) return;
  const int code = exit_code == contract::kExitFinished ? contract::kExitFailure : exit_code;
  end(code, fmt::format("{}{} left with exit code {}", kEchoStart, node_name(node), exit_code));
}

// The last words of an agent may have been lost on the way; its outcome in the rendezvous is not.
void Agent::peers_silent(const std::vector<std::size_t>& nodes) {
  rendezvous_.look();
  std::vector<std::size_t> lost;
  for (const std::size_t node : nodes) {
    const auto* published = rendezvous_.find("outcome", node_name(node));
    const auto outcome = published == nullptr ? std::nullopt : parse_outcome(*published);
    if (outcome) {
      peer_left(node, outcome->exit_code);
    } else {
      lost.push_back(node);
      peers_->depart(node);
    }
  }
  if (lost.empty() || outcome_) return;
  judge_missing(
      std::move(lost),
      fmt::format("no heartbeat for {}", std::chrono::duration<double>(recipe_.resilience.heartbeat_timeout)),
      contract::kExitFailure);
}

void Agent::judge_missing(std::vector<std::size_t> nodes, std::string why, int fallback) {
  kill_workers();
  if (phase_ != Phase::kJudging) {
    judging_.deadline = Clock::now() + kJudgeWait;
    judging_.fallback = fallback;
    judging_.why = std::move(why);
  }
  phase_ = Phase::kJudging;
  judging_.nodes.insert(judging_.nodes.end(), nodes.begin(), nodes.end());
  for (const std::size_t node : nodes)
    spdlog::warn("{}: lost {}: {}", setup_.node, node_name(node), judging_.why);
}

bool Agent::first_survivor() const {
  for (std::size_t p = 0; p < setup_.nodes.size(); ++p) {
    const std::size_t node = layout_.order.empty() ? p : layout_.order[p];
    if (node == setup_.index) return true;
    if (!contains(judging_.nodes, node) && !(peers_ && peers_->departed(node))) return false;
  }
  return true;
}

// One survivor speaks for all. Should it die meanwhile, its own silence makes the next one first.
void Agent::judge() {
  if (Clock::now() > judging_.deadline) {
    return end(judging_.down ? contract::kExitRequeue : judging_.fallback, judging_.why);
  }
  if (!first_survivor() || reporter_.under_way()) return;
  FailureReport report{setup_.service_address, setup_.job, {}, judging_.why};
  for (const std::size_t node : judging_.nodes) {
    if (contains(judging_.reported, node)) continue;
    append_event(run_, "peer_lost",
                 {{"node", node_name(node)}, {"why", judging_.why}, {"from", setup_.node}});
    report.nodes.push_back(node_name(node));
    judging_.reported.push_back(node);
  }
  if (report.nodes.empty()) return;
  if (report.address.empty()) return end(judging_.fallback, judging_.why + "; there is no stintd to ask");
  reporter_.start(std::move(report));
}

void Agent::take_verdict() {
  const auto answer = reporter_.take();
  if (!answer || outcome_) return;
  spdlog::info("{}: {}", setup_.node, answer->detail);
  if (answer->verdict == Verdict::kDown) {
    judging_.down = true;
    judging_.deadline = Clock::now() + kTermWait;
  } else if (!judging_.down) {
    end(judging_.fallback, fmt::format("{}; {}", judging_.why, answer->detail));
  }
}

}  // namespace stint::agent
