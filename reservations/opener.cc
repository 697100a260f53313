// SPDX-License-Identifier: Apache-2.0
#include "reservations/opener.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/text.h"
#include "reservations/refusal.h"
#include "reservations/waits.h"

namespace stint::reservations {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr double kWakeAgainAfter = 60;
constexpr double kLongestGap = 5;  // between two looks, in which nothing can be missed that matters
constexpr std::size_t kLongestFound = 300;
constexpr char kItself[] = "stintd";

std::string quoted(const std::string& word) {
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

const Plan* find_plan(const std::vector<Plan>& plans, std::int64_t id) {
  const auto found =
      std::find_if(plans.begin(), plans.end(), [&](const Plan& plan) { return plan.id == id; });
  return found == plans.end() ? nullptr : &*found;
}

bool passes(const ClusterError& error) {
  return error.code() == ClusterError::Code::kBusy;
}

}  // namespace

std::string check_script(const std::string& stint, const std::string& config) {
  return fmt::format("#!/bin/sh\nexec {} doctor node --report{}\n", quoted(stint),
                     config.empty() ? "" : " --config " + quoted(config));
}

Opener::Opener(Cluster& cluster, Ledger& ledger, Metrics& metrics, OpenerSettings settings, Now now)
    : cluster_(cluster),
      ledger_(ledger),
      metrics_(metrics),
      settings_(std::move(settings)),
      now_(std::move(now)) {}

sys_seconds Opener::now() const {
  return sys_seconds{seconds{static_cast<std::int64_t>(now_())}};
}

bool Opener::tend_once() {
  auto open = ledger_.open_openings();
  auto plans = ledger_.plans_since(now());
  begin_due_ones(plans, open);
  if (open.empty()) return false;
  Sight sight = look();
  for (const auto& opening : open) {
    // A plan that has ended is among them no more; its opening must be closed all the same.
    const Plan* plan = find_plan(plans, opening.plan);
    Plan gone;
    gone.id = opening.plan;
    gone.phase = Phase::kFailed;
    try {
      tend(plan == nullptr ? gone : *plan, opening, sight);
    } catch (const ClusterError& error) {
      metrics_.count_cluster_error();
      if (error.code() == ClusterError::Code::kUnreachable) throw;
      spdlog::warn("reservation {}: {}; trying again", opening.reservation, error.what());
    }
  }
  return true;
}

// A reservation of the same name may be left of a plan that had the name before.
void Opener::begin_due_ones(const std::vector<Plan>& plans, std::vector<Opening>& open) {
  for (const auto& plan : plans) {
    for (std::size_t k = 0; k < plan.segments.size(); ++k) {
      if (!opening_is_due(plan, k, settings_.rules, now())) continue;
      const Opening opening{plan.id, k, opening_reservation(plan.segments[k]), Opening::State::kBegun, {}};
      const bool same_name = std::any_of(open.begin(), open.end(), [&](const Opening& other) {
        return other.reservation == opening.reservation;
      });
      if (same_name || ledger_.opening(plan.id, k)) continue;
      ledger_.begin_opening(opening);
      open.push_back(opening);
    }
  }
}

Opener::Sight Opener::look() {
  Sight sight;
  for (auto& node : cluster_.nodes()) sight.nodes[node.name] = node;
  for (auto& reservation : cluster_.reservations()) sight.reservations[reservation.name] = reservation;
  sight.live = cluster_.jobs();
  if (now_() - looked_ > kLongestGap) watched_since_ = now_();
  looked_ = now_();
  return sight;
}

void Opener::tend(const Plan& plan, Opening opening, Sight& sight) {
  const auto checks = ledger_.checks(opening.plan, opening.k);
  std::vector<ClusterJob> live = sight.live;
  std::map<std::uint32_t, ClusterJob> ended;
  for (const auto& check : checks) {
    const bool is_live =
        std::any_of(live.begin(), live.end(), [&](const ClusterJob& job) { return job.id == check.job; });
    if (check.state != NodeCheck::State::kAsked || check.job == 0 || is_live) continue;
    const auto job = cluster_.job(check.job);
    if (!job || job->reservation != opening.reservation) continue;
    if (job->state == JobState::kFinished) {
      ended[job->id] = *job;
    } else {
      live.push_back(*job);
    }
  }
  const OpeningScene scene{plan,
                           opening,
                           checks,
                           sight.nodes,
                           sight.reservations,
                           live,
                           ended,
                           settings_.rules,
                           now(),
                           sys_seconds{seconds{static_cast<std::int64_t>(watched_since_)}}};
  const auto due = opening_due(scene);
  if (due.close) return close(opening, scene);
  write_down(due, opening);
  carry_out(due, plan, opening, sight);
}

void Opener::write_down(const OpeningDue& due, Opening& opening) {
  if (due.seen) {
    opening.state = Opening::State::kReserved;
    ledger_.set_opening(opening);
  }
  for (const auto& [node, job] : due.adopt) ledger_.set_check_job(opening, node, job);
  for (const auto& outcome : due.outcomes)
    ledger_.set_check(opening, outcome.node, outcome.state, outcome.found);
}

void Opener::carry_out(const OpeningDue& due, const Plan& plan, Opening& opening, Sight& sight) {
  for (const auto& [node, reason] : due.drain) {
    cluster_.drain_node(node, reason);
    sight.nodes[node].drained = true;  // the next opening of this round counts it
    sight.nodes[node].reason = reason;
    ledger_.set_check(opening, node, NodeCheck::State::kDrained, {});
    spdlog::warn("plan {}: node {} is drained: {}", plan.name, node, reason);
  }
  for (const auto job : due.cancel) {
    try {
      cluster_.cancel_job(job);
    } catch (const ClusterError& error) {
      if (error.code() != ClusterError::Code::kMissing) throw;
    }
  }
  for (const auto job : due.shorten) cluster_.set_job_end(job, plan.segments[opening.k].start - kClearBefore);
  if (due.remove) {
    try {
      cluster_.delete_reservation(opening.reservation);
    } catch (const ClusterError& error) {
      if (error.code() != ClusterError::Code::kMissing && !passes(error)) throw;
    }
    return;
  }
  for (const auto& node : due.wake) {
    const auto last = woken_.find(node);
    const bool just_woken =
        last != woken_.end() && waits_until(last->second + kWakeAgainAfter, kWakeAgainAfter, now_());
    if (just_woken) continue;
    cluster_.power_up_node(node);
    woken_[node] = now_();
    spdlog::info("plan {}: node {} sleeps; it is told to wake up", plan.name, node);
  }
  if (!due.reserve.empty()) reserve(plan, opening, due.reserve, sight);
  for (const auto& node : due.check) submit_check(plan, opening, node, sight);
}

// Where accounting demands an account of everybody named, only one of the two may have one.
std::vector<std::vector<std::string>> Opener::user_lists(const std::string& slurm_user) {
  if (slurm_user == "root") return {{"root"}};
  return {{slurm_user, "root"}, {slurm_user}, {"root"}};
}

// For the first of these that Slurm takes.
void Opener::create_for_any(ClusterReservation wanted,
                            const std::vector<std::vector<std::string>>& user_lists) {
  for (const auto& users : user_lists) {
    wanted.users = users;
    try {
      return cluster_.create_reservation(wanted);
    } catch (const ClusterError& error) {
      if (error.code() != ClusterError::Code::kRefused || &users == &user_lists.back()) throw;
    }
  }
}

void Opener::reserve(const Plan& plan, Opening& opening, const std::vector<std::string>& nodes,
                     const Sight& sight) {
  const auto there = sight.reservations.find(opening.reservation);
  ClusterReservation wanted{opening.reservation, now(), plan.segments[opening.k].start, nodes, {"root"},
                            plan.kind.partition, true};
  try {
    if (there != sight.reservations.end()) {
      wanted.start = there->second.start;
      wanted.users = there->second.users;
      return cluster_.update_reservation(there->second, wanted);
    }
    create_for_any(wanted, user_lists(cluster_.facts().slurm_user));
  } catch (const ClusterError& error) {
    if (error.code() == ClusterError::Code::kUnreachable || passes(error)) throw;
    note(plan, opening, fmt::format("Slurm refuses the reservation: {}", error.what()));
  }
}

void Opener::submit_check(const Plan& plan, Opening& opening, const std::string& node, const Sight& sight) {
  if (!opening.note.empty()) return;
  ledger_.add_check(opening, node);
  const auto limit = std::chrono::ceil<minutes>(settings_.rules.check_limit);
  try {
    const auto job =
        cluster_.submit_node_job({check_job_name(node), node, sight.nodes.at(node).gpus, plan.kind.partition,
                                  opening.reservation, settings_.check_script, limit});
    ledger_.set_check_job(opening, node, job);
  } catch (const ClusterError& error) {
    if (error.code() == ClusterError::Code::kUnreachable || passes(error)) throw;
    note(plan, opening, fmt::format("Slurm refuses the health check's job: {}", error.what()));
  }
}

// Said once; the opening goes on without what was refused.
void Opener::note(const Plan& plan, Opening& opening, const std::string& text) {
  spdlog::warn("plan {}: {}; goes on without health checks", plan.name, text);
  opening.note = text;
  ledger_.set_opening(opening);
}

void Opener::close(Opening opening, const OpeningScene& scene) {
  const auto summary = summarise(scene);
  opening.state = Opening::State::kClosed;
  opening.note = summary.text;
  ledger_.close_opening(opening, {now_(), kItself, summary.anything_checked ? "opened" : "opening skipped",
                                  fmt::format("segment {}: {}", opening.k, summary.text)});
  spdlog::log(summary.all_well ? spdlog::level::info : spdlog::level::err, "reservation {} is over: {}",
              opening.reservation, summary.text);
}

void Opener::take_findings(std::uint32_t job, const std::string& node, const std::string& found,
                           std::uint32_t uid) {
  const auto slurm_uid = cluster_.facts().slurm_uid;
  if (uid != 0 && uid != slurm_uid) refuse(403, "findings: only SlurmUser and root may send them");
  const auto known = cluster_.job(job);
  for (const auto& opening : ledger_.open_openings()) {
    const bool ours = known && known->reservation == opening.reservation &&
                      known->name == check_job_name(node) && (known->uid == 0 || known->uid == slurm_uid) &&
                      known->nodes == std::vector<std::string>{node};
    if (ours) return ledger_.note_findings(opening, node, found.substr(0, kLongestFound));
  }
  refuse(404, "findings: job {} is no health check that stintd has started on node {}", job, node);
}

nlohmann::json Opener::describe(const Plan& plan) const {
  for (std::size_t k = 0; k < plan.segments.size(); ++k) {
    const auto& segment = plan.segments[k];
    if (segment.end <= now()) continue;
    const auto opening = ledger_.opening(plan.id, k);
    if (!opening) {
      const auto begins = segment.start - settings_.rules.before;
      if (settings_.rules.before == seconds{} || begins <= now()) return nullptr;
      return {{"segment", k}, {"state", "waits"}, {"text", fmt::format("begins {}", format_time(begins))}};
    }
    if (opening->state == Opening::State::kClosed)
      return {{"segment", k}, {"state", "over"}, {"text", opening->note}};
    const auto text =
        opening->note.empty() ? progress_text(ledger_.checks(plan.id, k), segment) : opening->note;
    return {{"segment", k}, {"state", "open"}, {"text", "goes on: " + text}};
  }
  return nullptr;
}

}  // namespace stint::reservations
