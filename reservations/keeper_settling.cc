// SPDX-License-Identifier: Apache-2.0
// What Slurm has, held against the ledger, again and again.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/text.h"
#include "reservations/keeper.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

// Slurm writes its state a few seconds after a change. One made so shortly before slurmctld was started may
// be lost; somebody who has to start slurmctld does not edit reservations in the first minutes.
constexpr seconds kUnsaved{60};
constexpr seconds kForgetful{300};
// In a plan's history.
constexpr char kMissing[] = "reservation missing";
constexpr char kBack[] = "reservation back";  // after that
constexpr char kMadeAgain[] = "reservation made again";
// A segment that has begun, or begins before, is given up then.
constexpr seconds kMakeAgainWithin{300};

}  // namespace

void Keeper::reconcile(std::vector<Plan>& plans, const std::vector<ClusterNode>& nodes,
                       sys_seconds slurm_booted) {
  slurm_booted_ = slurm_booted;
  bool settled = true;
  const auto reservations = cluster_.reservations();
  const auto present = by_name(reservations);
  for (auto& plan : plans) {
    try {
      settle(plan, present);
    } catch (const Error& error) {
      spdlog::warn("{}", error.what());
      settled = false;
    }
  }
  if (settled) settled_boot_ = slurm_booted_;
  std::vector<Plan*> held;
  for (auto& plan : plans) {
    const bool booked = plan.phase == Phase::kBooked || plan.phase == Phase::kPending;
    if (booked && plan.live_at(now()) && !missing_since(plan)) held.push_back(&plan);
  }
  swapper_.swap(held, nodes, reservations);
}

void Keeper::settle(Plan& plan, const Reservations& reservations) {
  switch (plan.phase) {
    case Phase::kBooking:
      return settle_booking(plan, reservations);
    case Phase::kPending:
      if (plan.segments.front().start <= now()) {
        fail_plan(plan, "nobody approved it before it began");
        return remove_leftover(plan, reservations);
      }
      return settle_segments(plan, reservations);
    case Phase::kBooked:
      if (ledger_.open_change(plan.id)) return settle_change(plan);
      remove_released(plan, reservations);
      if (plan.live_at(now())) settle_segments(plan, reservations);
      return;
    case Phase::kCancelling:
      return finish_cancel(plan, {});  // the next round looks again
    case Phase::kCancelled:
    case Phase::kFailed:
      return remove_leftover(plan, reservations);
  }
}

// stintd ended between the intent and the outcome. Nodes and times tell our reservation from another's of the
// same name.
void Keeper::settle_booking(Plan& plan, const Reservations& reservations) {
  std::vector<std::string> ours;
  for (const auto& segment : plan.segments) {
    const auto found = reservations.find(segment.reservation);
    if (found != reservations.end() && same(segment, found->second, now()))
      ours.push_back(segment.reservation);
  }
  if (ours.size() == plan.segments.size()) {
    finish_booking(plan, kItself);
    spdlog::info("plan {}: its reservations exist; the booking is completed", plan.name);
    return;
  }
  for (const auto& reservation : ours) cluster_.delete_reservation(reservation);
  fail_plan(plan, "stintd ended while it was booked; nothing is reserved, book it again");
}

void Keeper::settle_change(Plan& plan) {
  const auto change = ledger_.open_change(plan.id);
  carry_out(plan, *change);
  spdlog::info("plan {}: a change that was interrupted is completed: {}", plan.name, change->entry.action);
}

void Keeper::settle_segments(Plan& plan, const Reservations& reservations) {
  std::optional<bool> forgotten;  // as of the plan's history before this round wrote to it
  for (std::size_t k = 0; k < plan.segments.size(); ++k) {
    auto& segment = plan.segments[k];
    if (segment.end <= now()) continue;  // Slurm removes what is over
    const auto found = reservations.find(segment.reservation);
    if (found == reservations.end()) {
      if (!make_again(plan, k)) return;
      continue;
    }
    const bool differs = !same(segment, found->second, now());
    if (!differs && !has_other_users(plan, segment, found->second)) continue;
    if (!forgotten) forgotten = may_have_forgotten(plan);
    if (*forgotten && remind(plan, segment, found->second)) continue;
    put_users_back(plan, segment, found->second);
    if (!differs) continue;
    // An admin changed it, or stintd ended in the middle of a swap: Slurm's word counts.
    segment.nodes = found->second.nodes;
    if (!begun(segment, found->second, now())) segment.start = found->second.start;
    segment.end = found->second.end;
    ledger_.set_segment(
        plan.id, k, segment,
        entry(kItself, "reservation changed",
              fmt::format("{} is now {} from {} to {}", segment.reservation, format_host_list(segment.nodes),
                          format_time(segment.start), format_time(segment.end))));
    spdlog::info("plan {}: reservation {} was changed; the ledger follows", plan.name, segment.reservation);
  }
}

bool Keeper::has_other_users(const Plan& plan, const Segment& segment, const ClusterReservation& found) {
  return sorted(to_reservation(plan, segment).users) != sorted(found.users);
}

// Who may use a plan holds for all of its segments and at submit: one reservation has no say in it.
void Keeper::put_users_back(const Plan& plan, const Segment& segment, const ClusterReservation& found) {
  if (!has_other_users(plan, segment, found)) return;
  auto wanted = found;
  wanted.users = to_reservation(plan, segment).users;
  cluster_.update_reservation(found, wanted);
  const auto detail = fmt::format("{} had {}; 'stint plan share' changes who may use a plan",
                                  segment.reservation, fmt::join(found.users, ","));
  ledger_.add_history(plan.id, entry(kItself, "users put back", detail));
  spdlog::warn("plan {}: users put back: {}", plan.name, detail);
}

// A slurmctld that crashed knows nothing of its last seconds; differences that are seen after the first round
// since it was started are an admin's.
bool Keeper::may_have_forgotten(const Plan& plan) {
  const auto booted = cluster_.facts().booted;
  if (booted != slurm_booted_)
    throw ClusterError(ClusterError::Code::kUnreachable, "slurmctld was started again meanwhile");
  if (settled_boot_ == booted || now() > booted + kForgetful) return false;
  const auto history = ledger_.history(plan.id);
  const sys_seconds last{seconds{history.empty() ? 0 : static_cast<std::int64_t>(history.back().t)}};
  return last <= booted && last + kUnsaved >= booted;
}

// What was told it then is told again. True: it is.
bool Keeper::remind(const Plan& plan, const Segment& segment, const ClusterReservation& found) {
  auto wanted = to_reservation(plan, segment);
  if (begun(segment, found, now())) wanted.start = found.start;
  try {
    cluster_.update_reservation(found, wanted);
  } catch (const ClusterError& error) {
    if (unreachable(error)) throw;
    return false;
  }
  ledger_.add_history(plan.id, entry(kItself, "reservation put back",
                                     segment.reservation + ", of which slurmctld had forgotten a change"));
  spdlog::warn("plan {}: slurmctld had forgotten a change of {}; it is made again", plan.name,
               segment.reservation);
  return true;
}

// Somebody else has its nodes by now. Killed in between, the next round takes Slurm's word for the new ones.
bool Keeper::make_elsewhere(Plan& plan, std::size_t k) {
  Segment segment = plan.segments[k];
  const Window rest{std::max(segment.start, now()), segment.end};
  segment.nodes = capacity_.planner(plan.kind).choose(segment.nodes.size(), rest);
  if (segment.nodes.empty()) return false;
  auto again = to_reservation(plan, segment);
  again.start = rest.start;
  try {
    cluster_.create_reservation(again);
  } catch (const ClusterError& error) {
    metrics_.count_cluster_error();
    if (unreachable(error)) throw;
    return false;
  }
  const auto detail =
      fmt::format("{} on {}, its nodes were taken", segment.reservation, format_host_list(segment.nodes));
  ledger_.set_segment(plan.id, k, segment, entry(kItself, missing_since(plan) ? kBack : kMadeAgain, detail));
  plan.segments[k] = segment;
  spdlog::warn("plan {}: reservation {}", plan.name, detail);
  return true;
}

// Since when a reservation of the plan could not be made again.
std::optional<sys_seconds> Keeper::missing_since(const Plan& plan) const {
  const auto history = ledger_.history(plan.id);
  const auto last = std::find_if(history.rbegin(), history.rend(), [](const HistoryEntry& one) {
    return one.action == kMissing || one.action == kBack;
  });
  if (last == history.rend() || last->action == kBack) return std::nullopt;
  return sys_seconds{seconds{static_cast<std::int64_t>(last->t)}};
}

// What Slurm refuses now (a user or a partition that it does not know at present, nodes that are taken) may
// pass. True: there is time to see.
bool Keeper::wait_to_make_again(const Plan& plan, std::size_t k, const ClusterError& error) {
  const auto& segment = plan.segments[k];
  const auto since = missing_since(plan);
  if (now() >= std::max(segment.start, since.value_or(now()) + kMakeAgainWithin)) return false;
  if (since) return true;
  ledger_.add_history(plan.id,
                      entry(kItself, kMissing,
                            fmt::format("{} is gone and cannot be made again now ({}); stintd goes on trying",
                                        segment.reservation, error.what())));
  spdlog::error("plan {}: reservation {} is missing: {}; trying again", plan.name, segment.reservation,
                error.what());
  return true;
}

bool Keeper::make_again(Plan& plan, std::size_t k) {
  const auto& segment = plan.segments[k];
  auto again = to_reservation(plan, segment);
  again.start = std::max(again.start, now());
  try {
    cluster_.create_reservation(again);
  } catch (const ClusterError& error) {
    metrics_.count_cluster_error();
    if (unreachable(error)) throw;
    if (make_elsewhere(plan, k) || wait_to_make_again(plan, k, error)) return true;
    fail_plan(plan, fmt::format("its reservation was removed and cannot be made again: {}", error.what()));
    return false;
  }
  ledger_.add_history(plan.id, entry(kItself, missing_since(plan) ? kBack : kMadeAgain, segment.reservation));
  spdlog::warn("plan {}: reservation {} was missing and is made again", plan.name, segment.reservation);
  return true;
}

// A create that was on its way when stintd was killed may take effect after the intent was undone.
void Keeper::remove_leftover(const Plan& plan, const Reservations& reservations) {
  for (const auto& segment : plan.segments) {
    const auto found = reservations.find(segment.reservation);
    if (found == reservations.end() || !same(segment, found->second, now())) continue;
    const auto newest = ledger_.find_plan(plan.name);
    if (newest && newest->id != plan.id && newest->live_at(now())) continue;
    cluster_.delete_reservation(segment.reservation);
    spdlog::info("plan {}: a left-over reservation {} is removed", plan.name, segment.reservation);
  }
}

// A slurmctld that crashed may have forgotten that it was deleted. Its nodes and start tell it from
// another's.
void Keeper::remove_released(const Plan& plan, const Reservations& reservations) {
  for (const auto& segment : plan.segments) {
    const auto found = reservations.find(segment.reservation);
    if (!segment.released || found == reservations.end()) continue;
    const auto& left = found->second;
    const bool ours = segment.start <= left.start && left.start < segment.end &&
                      sorted(left.nodes) == sorted(segment.nodes);
    const auto newest = ledger_.find_plan(plan.name);
    if (!ours || left.end <= segment.end || !newest || newest->id != plan.id) continue;
    remove_reservation(segment.reservation);
    spdlog::info("plan {}: {} was released and is there again; it is removed", plan.name,
                 segment.reservation);
  }
}

}  // namespace stint::reservations
