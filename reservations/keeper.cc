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

}  // namespace

std::vector<std::string> Keeper::sorted(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  return names;
}

// A reservation that was made again in the midst of its segment begins later than the segment did.
bool Keeper::begun(const Segment& segment, const ClusterReservation& reservation, sys_seconds now) {
  return segment.start <= now && reservation.start <= now;
}

bool Keeper::same(const Segment& segment, const ClusterReservation& reservation, sys_seconds now) {
  return (segment.start == reservation.start || begun(segment, reservation, now)) &&
         segment.end == reservation.end && sorted(segment.nodes) == sorted(reservation.nodes);
}

bool Keeper::unreachable(const ClusterError& error) {
  return error.code() == ClusterError::Code::kUnreachable;
}

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

}  // namespace stint::reservations
