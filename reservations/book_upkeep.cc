// SPDX-License-Identifier: Apache-2.0
// What Slurm's accounting changes in the book by itself: who belongs to a plan's accounts, how long jobs may
// run.
#include "base/log.h"
#include "reservations/book.h"
#include "reservations/people.h"
#include "reservations/waits.h"

namespace stint::reservations {
namespace {

// Each is one question to slurmctld, about users of plans only; but it looks through all associations for it.
constexpr double kMembersEvery = 10;
constexpr double kLimitsEvery = 30;

}  // namespace

// Slurm's reservation follows who belongs to a plan's accounts; a change that it refuses waits for another
// one.
void Book::refresh_members(std::vector<Plan>& plans) {
  if (waits_until(members_due_, kMembersEvery, now_())) return;
  std::set<std::string> accounts;
  const auto follows = [&](const Plan& plan) {
    return plan.phase == Phase::kBooked && plan.live_at(now()) && !plan.accounts.empty() &&
           !ledger_.open_change(plan.id);
  };
  for (const auto& plan : plans) {
    if (follows(plan)) accounts.insert(plan.accounts.begin(), plan.accounts.end());
  }
  if (accounts.empty()) return;
  const auto members = accounts_.members_of({accounts.begin(), accounts.end()});
  for (auto& plan : plans) {
    if (!follows(plan) || has_members(plan, members)) continue;
    Plan wanted = plan;
    set_members(wanted, members);
    keep_members_with_jobs(wanted, plan, keeper_.jobs_in(plan));
    if (!same_members(plan, wanted)) follow_members(plan, wanted);
  }
  members_due_ = now_() + kMembersEvery;
}

void Book::follow_members(Plan& plan, const Plan& wanted) {
  const auto change = membership_change(plan, wanted);
  auto& refused = refused_members_[plan.id];
  if (refused == change) return;
  try {
    keeper_.change(plan, {wanted, {now_(), "stintd", "members changed", change}});
    refused.clear();
    spdlog::info("plan {}: members of its accounts: {}", plan.name, change);
  } catch (const Refusal& refusal) {
    if (refusal.status() != 409) throw;  // Slurm went away: settled later
    refused = change;
    spdlog::warn("{}", refusal.what());
  }
}

// While Slurm does not answer, what it said before holds on.
void Book::learn_limits(const std::map<std::string, Plan>& plans) {
  std::set<std::string> users;
  for (const auto& [name, plan] : plans) {
    const auto everybody = plan.everybody();
    if (plan.live_at(now())) users.insert(everybody.begin(), everybody.end());
  }
  if (users == limited_users_ && waits_until(limits_due_, kLimitsEvery, now_())) return;
  try {
    limits_ = cluster_.wall_limits({users.begin(), users.end()});
    limited_users_ = std::move(users);
    limits_due_ = now_() + kLimitsEvery;
  } catch (const ClusterError& error) {
    spdlog::debug("{}", error.what());
  }
}

}  // namespace stint::reservations
