// SPDX-License-Identifier: Apache-2.0
#include "reservations/keeper.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/text.h"
#include "reservations/refund.h"
#include "reservations/refusal.h"

namespace stint::reservations {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr milliseconds kPoll{200};
constexpr milliseconds kJobsEnd{20'000};  // jobs of a forced cancel must be gone by then
constexpr char kItself[] = "stintd";      // in a plan's history
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

std::vector<std::string> sorted(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  return names;
}

// A reservation that was made again in the midst of its segment begins later than the segment did.
bool begun(const Segment& segment, const ClusterReservation& reservation, sys_seconds now) {
  return segment.start <= now && reservation.start <= now;
}

bool same(const Segment& segment, const ClusterReservation& reservation, sys_seconds now) {
  return (segment.start == reservation.start || begun(segment, reservation, now)) &&
         segment.end == reservation.end && sorted(segment.nodes) == sorted(reservation.nodes);
}

std::string booking_text(const Plan& plan) {
  return fmt::format(
      "{}+{} nodes of partition {}, {} to {} in {}, {} {}", plan.nodes, plan.spares, plan.kind.partition,
      format_time(plan.segments.front().start), format_time(plan.segments.back().end),
      plan.segments.size() == 1 ? "one segment" : fmt::format("{} segments", plan.segments.size()),
      plan.price.amount(), plan.price.currency);
}

// What may or may not have been done is known once Slurm answers again.
[[noreturn]] void leave_to_settling(const Plan& plan, const std::string& what, const ClusterError& error) {
  refuse(503, "plan {}: {}; whether it is {} is settled when slurmctld answers, see 'stint plan show {}'",
         plan.name, error.what(), what, plan.name);
}

// Slurm has done it, and the intent says so to the next round.
[[noreturn]] void leave_to_ledger(const Plan& plan, const std::string& what, const Error& error) {
  refuse(503,
         "plan {}: {}; Slurm has it {}, and so has stintd as soon as the ledger can be written, see 'stint "
         "plan show {}'",
         plan.name, error.what(), what, plan.name);
}

std::string ids_of(const std::vector<ClusterJob>& jobs) {
  std::string ids;
  for (const auto& job : jobs) ids += (ids.empty() ? "" : ", ") + std::to_string(job.id);
  return ids;
}

bool has_segment(const Plan& plan, const std::string& reservation) {
  return std::any_of(plan.segments.begin(), plan.segments.end(),
                     [&](const Segment& segment) { return segment.reservation == reservation; });
}

// Of what it has at the time, or will have.
bool lasts(const Plan& plan, const std::string& reservation, sys_seconds now) {
  return std::any_of(plan.segments.begin(), plan.segments.end(), [&](const Segment& segment) {
    return segment.reservation == reservation && segment.end > now;
  });
}

bool unreachable(const ClusterError& error) {
  return error.code() == ClusterError::Code::kUnreachable;
}

}  // namespace

Keeper::Keeper(Cluster& cluster, Ledger& ledger, Metrics& metrics, const Capacity& capacity, Now now,
               Wait wait, std::function<void()> publish)
    : cluster_(cluster),
      ledger_(ledger),
      metrics_(metrics),
      capacity_(capacity),
      now_(now),
      wait_(std::move(wait)),
      publish_(std::move(publish)),
      swapper_(cluster, ledger, metrics, capacity, std::move(now)) {}

sys_seconds Keeper::now() const {
  return sys_seconds{seconds{static_cast<std::int64_t>(now_())}};
}

HistoryEntry Keeper::entry(const std::string& who, const std::string& action,
                           const std::string& detail) const {
  return {now_(), who, action, detail};
}

void Keeper::move_to(Plan& plan, Phase phase, const HistoryEntry& entry) {
  Plan moved = plan;
  moved.phase = phase;
  ledger_.set_phase(moved, entry);
  plan = std::move(moved);
}

void Keeper::fail_plan(Plan& plan, const std::string& reason) {
  plan.reason = reason;
  const bool was_booked = plan.phase == Phase::kBooked;
  plan.refund_cents = was_booked ? price_of_rest(plan.price, plan.windows(), now()) : plan.price.cents;
  move_to(plan, Phase::kFailed, entry(kItself, "failed", reason));
  spdlog::error("plan {}: {}", plan.name, reason);
}

Keeper::Reservations Keeper::by_name(const std::vector<ClusterReservation>& reservations) {
  Reservations named;
  for (const auto& reservation : reservations) named.emplace(reservation.name, reservation);
  return named;
}

std::vector<ClusterJob> Keeper::jobs_in(const Plan& plan) const {
  auto jobs = cluster_.jobs();
  std::erase_if(jobs, [&](const ClusterJob& job) {
    return std::none_of(plan.segments.begin(), plan.segments.end(),
                        [&](const Segment& segment) { return job.reservation == segment.reservation; });
  });
  return jobs;
}

void Keeper::book(Plan& plan, const std::string& who) {
  plan.id = ledger_.add_plan(plan);
  Plan nothing = plan;
  nothing.segments.clear();
  try {
    bring_about(plan, nothing);
  } catch (const ClusterError& error) {
    metrics_.count_cluster_error();
    if (unreachable(error)) leave_to_settling(plan, "booked", error);
    take_back(plan, nothing);
    ledger_.drop_plan(plan.id);
    refuse(409, "plan {}: Slurm refuses the reservation: {}", plan.name, error.what());
  }
  try {
    finish_booking(plan, who);
  } catch (const Error& error) {
    leave_to_ledger(plan, "reserved", error);
  }
}

void Keeper::finish_booking(Plan& plan, const std::string& who) {
  const bool pending = plan.needs_approval;
  move_to(plan, pending ? Phase::kPending : Phase::kBooked,
          entry(who, pending ? "asked for" : "booked", booking_text(plan)));
}

void Keeper::change(Plan& plan, const PlanChange& change) {
  ledger_.begin_change(change);
  try {
    carry_out(plan, change);
  } catch (const ClusterError& error) {
    leave_to_settling(plan, "changed", error);
  } catch (const Refusal&) {
    throw;
  } catch (const Error& error) {
    leave_to_ledger(plan, "changed", error);
  }
}

// Forward, else back; with the intent still there when Slurm goes away on the way.
void Keeper::carry_out(Plan& plan, const PlanChange& change) {
  try {
    bring_about(change.wanted, plan);
    for (const auto& segment : plan.segments) {
      if (segment.end > now() && !lasts(change.wanted, segment.reservation, now()))
        remove_reservation(segment.reservation);
    }
  } catch (const ClusterError& error) {
    metrics_.count_cluster_error();
    if (unreachable(error)) throw;
    bring_about(plan, change.wanted);
    take_back(change.wanted, plan);
    ledger_.drop_change(plan.id);
    ledger_.add_history(plan.id, entry(kItself, "not " + change.entry.action, error.what()));
    refuse(409, "plan {}: Slurm refuses the change: {}; the plan is as it was", plan.name, error.what());
  }
  ledger_.finish_change(plan.id);
  plan = change.wanted;
}

// Slurm gets the reservations of `wanted`, where it may have those of `before`. What is over is left alone.
// Doing it again does no harm.
void Keeper::bring_about(const Plan& wanted, const Plan& before) {
  const auto present = by_name(cluster_.reservations());
  for (const auto& segment : wanted.segments) {
    if (segment.end <= now()) continue;
    auto reservation = to_reservation(wanted, segment);
    const auto found = present.find(segment.reservation);
    if (found == present.end()) {
      reservation.start = std::max(reservation.start, now());
      cluster_.create_reservation(reservation);
      continue;
    }
    if (begun(segment, found->second, now())) reservation.start = found->second.start;
    const bool as_wanted = same(segment, found->second, now());
    if (!as_wanted && !has_segment(before, segment.reservation)) {
      throw ClusterError(ClusterError::Code::kExists,
                         fmt::format("a reservation {} exists already", segment.reservation));
    }
    if (!as_wanted || sorted(wanted.everybody()) != sorted(found->second.users))
      cluster_.update_reservation(found->second, reservation);
  }
}

// Removes what was made for `wanted` and is none of `before`'s. Nodes and end tell our reservation from
// another's of the same name; its start may have been shifted to now.
void Keeper::take_back(const Plan& wanted, const Plan& before) {
  const auto present = by_name(cluster_.reservations());
  for (const auto& segment : wanted.segments) {
    const auto found = present.find(segment.reservation);
    if (found == present.end() || has_segment(before, segment.reservation)) continue;
    const auto& reservation = found->second;
    if (reservation.end == segment.end && sorted(reservation.nodes) == sorted(segment.nodes))
      remove_reservation(segment.reservation);
  }
}

void Keeper::remove_reservation(const std::string& name) {
  try {
    cluster_.delete_reservation(name);
  } catch (const ClusterError& error) {
    if (error.code() != ClusterError::Code::kMissing) throw;
  }
}

void Keeper::approve(Plan& plan, const std::string& who) {
  move_to(plan, Phase::kBooked, entry(who, "approved"));
}

void Keeper::cancel(Plan& plan, bool force, const std::string& who, const std::string& why) {
  plan.force = force;
  plan.reason = why;
  move_to(plan, Phase::kCancelling, entry(who, force ? "cancelling, jobs and all" : "cancelling", why));
  publish_();
  try {
    finish_cancel(plan, kJobsEnd);
  } catch (const ClusterError& error) {
    if (!unreachable(error)) throw;
    leave_to_settling(plan, "cancelled", error);
  }
}

// From cancelling to cancelled, or back to booked where jobs came in that may not be ended.
void Keeper::finish_cancel(Plan& plan, milliseconds patience) {
  try {
    if (plan.force) end_jobs(plan, patience);
    for (const auto& segment : plan.segments) remove_reservation(segment.reservation);
  } catch (const ClusterError& error) {
    metrics_.count_cluster_error();
    if (plan.force || error.code() != ClusterError::Code::kBusy) throw;
    const auto jobs = fmt::format("jobs {} came into it", ids_of(jobs_in(plan)));
    plan.reason.clear();
    plan.refund_cents = 0;
    move_to(plan, Phase::kBooked, entry(kItself, "not cancelled", jobs));
    publish_();
    refuse(409, "plan {}: {}; end them, or cancel with --force, which ends them", plan.name, jobs);
  }
  move_to(plan, Phase::kCancelled, entry(kItself, "cancelled"));
  publish_();
  spdlog::info("plan {}: cancelled", plan.name);
}

void Keeper::end_jobs(const Plan& plan, milliseconds patience) {
  auto jobs = jobs_in(plan);
  for (const auto& job : jobs) {
    try {
      cluster_.cancel_job(job.id);
    } catch (const ClusterError& error) {
      if (error.code() != ClusterError::Code::kMissing) throw;
    }
  }
  for (auto waited = milliseconds{}; !jobs.empty() && waited < patience; waited += kPoll) {
    wait_(kPoll);
    jobs = jobs_in(plan);
  }
  if (jobs.empty()) return;
  throw ClusterError(
      ClusterError::Code::kBusy,
      fmt::format("plan {}: jobs {} do not end; stintd goes on trying", plan.name, ids_of(jobs)));
}

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
  for (std::size_t k = 0; k < plan.segments.size(); ++k) {
    auto& segment = plan.segments[k];
    if (segment.end <= now()) continue;  // Slurm removes what is over
    const auto found = reservations.find(segment.reservation);
    if (found == reservations.end()) {
      if (!make_again(plan, k)) return;
      continue;
    }
    put_users_back(plan, segment, found->second);
    if (same(segment, found->second, now()) || remind(plan, segment, found->second)) continue;
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

// Who may use a plan holds for all of its segments and at submit: one reservation has no say in it.
void Keeper::put_users_back(const Plan& plan, const Segment& segment, const ClusterReservation& found) {
  auto wanted = found;
  wanted.users = to_reservation(plan, segment).users;
  if (sorted(wanted.users) == sorted(found.users)) return;
  cluster_.update_reservation(found, wanted);
  const auto detail = fmt::format("{} had {}; 'stint plan share' changes who may use a plan",
                                  segment.reservation, fmt::join(found.users, ","));
  ledger_.add_history(plan.id, entry(kItself, "users put back", detail));
  spdlog::warn("plan {}: users put back: {}", plan.name, detail);
}

// A slurmctld that crashed knows nothing of its last seconds: what was told it then is told again, in the
// first round after it was started; later differences are an admin's. True: it is.
bool Keeper::remind(const Plan& plan, const Segment& segment, const ClusterReservation& found) {
  const auto booted = cluster_.facts().booted;
  if (booted != slurm_booted_)
    throw ClusterError(ClusterError::Code::kUnreachable, "slurmctld was started again meanwhile");
  if (settled_boot_ == booted) return false;
  const auto history = ledger_.history(plan.id);
  const sys_seconds last{seconds{history.empty() ? 0 : static_cast<std::int64_t>(history.back().t)}};
  const bool may_have_forgotten = last <= booted && last + kUnsaved >= booted;
  if (!may_have_forgotten || now() > booted + kForgetful) return false;
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
