// SPDX-License-Identifier: Apache-2.0
#include "reservations/book.h"

#include <fmt/format.h>
#include <algorithm>

#include "base/contract.h"
#include "base/ini.h"
#include "base/log.h"
#include "base/text.h"
#include "reservations/refusal.h"
#include "reservations/users.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr seconds kRemembered = std::chrono::days{7};  // how long plans that are over are listed
constexpr seconds kLookAhead = std::chrono::days{60};  // for "free from …"
constexpr seconds kClockSlack{60};                     // a start this far back still means now
constexpr std::chrono::milliseconds kPoll{200};
constexpr std::chrono::milliseconds kJobsEnd{20'000};  // jobs of a forced cancel must be gone by then
constexpr char kItself[] = "stintd";                   // in a plan's history
constexpr sys_seconds kNoStamp{seconds{1}};            // of tables that are compared, not written

std::vector<std::string> sorted(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  return names;
}

// Whether the file is as it was written: somebody may have removed or changed it.
bool holds(const std::string& path, const std::string& text) {
  try {
    return read_file(path, text.size()) == text;
  } catch (const Error&) {
    return false;
  }
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool same(const Segment& segment, const ClusterReservation& reservation) {
  return segment.start == reservation.start && segment.end == reservation.end &&
         sorted(segment.nodes) == sorted(reservation.nodes);
}

std::string booking_text(const Plan& plan) {
  return fmt::format(
      "{}+{} nodes of partition {}, {} to {} in {}, {} {}", plan.nodes, plan.spares, plan.partition,
      format_time(plan.segments.front().start), format_time(plan.segments.back().end),
      plan.segments.size() == 1 ? "one segment" : fmt::format("{} segments", plan.segments.size()),
      plan.price.amount(), plan.price.currency);
}

// The same offer with its first segment from `start` on.
Offer begun_at(Offer offer, sys_seconds start) {
  auto& window = offer.segments.front().window;
  window = {start, start + (window.end - window.start)};
  return offer;
}

// What keeps the offer from being booked; empty: nothing.
std::string obstacle(const Offer& offer, const Planner& planner) {
  std::set<std::string> taken;
  sys_seconds end{};
  for (const auto& segment : offer.segments) {
    if (segment.window.start < end) return "it is too late for its first segment";
    end = segment.window.end;
    const auto free = planner.available_during(segment.window);
    const std::set<std::string> there(free.begin(), free.end());
    for (const auto& node : segment.nodes) {
      if (!there.contains(node)) taken.insert(node);
    }
  }
  if (taken.empty()) return {};
  return fmt::format("{} {} no longer free", format_host_list({taken.begin(), taken.end()}),
                     taken.size() == 1 ? "is" : "are");
}

ClusterReservation to_reservation(const Plan& plan, const Segment& segment) {
  return {segment.reservation, segment.start, segment.end, segment.nodes, plan.users, plan.partition};
}

}  // namespace

Book::Book(Cluster& cluster, Ledger& ledger, Metrics& metrics, Settings settings, Now now, Wait wait)
    : cluster_(cluster),
      ledger_(ledger),
      metrics_(metrics),
      settings_(std::move(settings)),
      now_(std::move(now)),
      wait_(std::move(wait)),
      gate_(cluster_, settings_),
      capacity_(cluster_, ledger_, now_),
      desk_(capacity_, gate_, settings_, now_) {}

sys_seconds Book::now() const {
  return sys_seconds{seconds{static_cast<std::int64_t>(now_())}};
}

Plan Book::show(const std::string& name) const {
  auto plan = ledger_.find_plan(name);
  if (!plan) refuse(404, "plan {}: there is no such plan; see 'stint plan list'", name);
  return *plan;
}

std::vector<Plan> Book::list() const {
  return ledger_.plans_since(now() - kRemembered);
}

std::vector<std::string> Book::lost_nodes() const {
  const std::lock_guard lock(lost_mutex_);
  return lost_;
}

Plan Book::create(const PlanRequest& request, std::uint32_t uid) {
  const std::lock_guard lock(change_);
  const std::string subject = "plan " + request.name;
  gate_.check_booker(subject, uid);
  if (request.offer.empty()) gate_.check_size(subject, request.nodes + request.spares, request.duration);
  check_name_is_free(request.name);
  Plan plan;
  plan.name = request.name;
  plan.created = now();
  set_people(plan, request, uid);
  if (request.offer.empty()) {
    plan_directly(plan, request);
  } else {
    plan_by_offer(plan, request.offer, uid);
  }
  if (request.quote) return plan;
  plan.id = ledger_.add_plan(plan);
  reserve(plan);
  note(plan, user_of_uid(uid), "booked", booking_text(plan));
  publish();
  spdlog::info("plan {}: booked {} nodes ({}) for {}", plan.name, plan.segments[0].nodes.size(),
               format_host_list(plan.segments[0].nodes), plan.owner);
  return plan;
}

std::vector<HistoryEntry> Book::history(const std::string& name) const {
  return ledger_.history(show(name).id);
}

void Book::note(const Plan& plan, const std::string& who, const std::string& action,
                const std::string& detail) {
  ledger_.add_history({now_(), plan.id, who, action, detail});
}

void Book::plan_directly(Plan& plan, const PlanRequest& request) const {
  const std::string subject = "plan " + request.name;
  plan.nodes = request.nodes;
  plan.spares = request.spares;
  plan.partition = gate_.partition(subject, request.partition);
  Segment segment;
  segment.reservation = contract::reservation_name(plan.name, 0);
  set_window(segment, request);
  plan.segments.push_back(segment);
  plan.price = price_of(settings_.node_hour, settings_.currency, plan.nodes, request.duration);
  choose_nodes(plan);
}

void Book::plan_by_offer(Plan& plan, const std::string& id, std::uint32_t uid) {
  const auto shelved = desk_.find(id);
  const Planner planner = capacity_.planner(shelved.request.kind);
  // Offers begin on whole minutes. One that begins in less than that, or should have begun, begins now.
  Offer offer = shelved.offer;
  const sys_seconds offered = offer.segments.front().window.start;
  if (offered < now() + std::chrono::minutes{1}) offer = begun_at(offer, now());
  if (offered > now() && !obstacle(offer, planner).empty()) offer = shelved.offer;
  if (const auto why = obstacle(offer, planner); !why.empty()) {
    throw OfferTaken(fmt::format("offer {}: {}; nothing is booked", id, why),
                     desk_.search(shelved.request, uid));
  }
  plan.nodes = static_cast<int>(shelved.request.query.nodes);
  plan.spares = static_cast<int>(shelved.request.query.spares);
  plan.partition = shelved.request.kind.partition;
  plan.price = offer.price;
  plan.switches = static_cast<int>(offer.switches());
  for (const auto& segment : offer.segments) {
    plan.segments.push_back({contract::reservation_name(plan.name, plan.segments.size()),
                             segment.window.start, segment.window.end, segment.nodes});
  }
}

void Book::check_name_is_free(const std::string& name) const {
  const auto existing = ledger_.find_plan(name);
  if (!existing || !existing->live_at(now())) return;
  refuse(409, "plan {}: exists already ({}); take another name, or 'stint plan cancel {}' first", name,
         to_string(existing->state_at(now())), name);
}

void Book::set_people(Plan& plan, const PlanRequest& request, std::uint32_t uid) const {
  plan.users = request.users.empty() ? std::vector<std::string>{user_of_uid(uid)} : request.users;
  for (const auto& user : plan.users) {
    const auto number = uid_of_user(user);
    if (!number) refuse(400, "plan {}: there is no user '{}'", plan.name, user);
    plan.uids.push_back(*number);
  }
  plan.owner = plan.users.front();
  plan.owner_uid = plan.uids.front();
  if (cluster_.is_operator(uid)) return;
  if (std::find(plan.uids.begin(), plan.uids.end(), uid) == plan.uids.end()) {
    refuse(403, "plan {}: only an operator books for others; add {} to the users", plan.name,
           user_of_uid(uid));
  }
  plan.owner = user_of_uid(uid);
  plan.owner_uid = uid;
}

void Book::set_window(Segment& segment, const PlanRequest& request) const {
  segment.start = request.start.value_or(now());
  if (segment.start < now() - kClockSlack) {
    refuse(400, "plan {}: its start {} lies in the past; it is {}", request.name, format_time(segment.start),
           format_time(now()));
  }
  segment.start = std::max(segment.start, now());
  gate_.check_start("plan " + request.name, segment.start, now());
  segment.end = segment.start + request.duration;
}

void Book::choose_nodes(Plan& plan) const {
  auto& segment = plan.segments.front();
  const Planner planner = capacity_.planner({plan.partition, {}, 0});
  segment.nodes = planner.choose(static_cast<std::size_t>(plan.nodes) + static_cast<std::size_t>(plan.spares),
                                 {segment.start, segment.end});
  if (segment.nodes.empty()) refuse_for_space(plan, planner);
  plan.switches = static_cast<int>(planner.leaf_switches(segment.nodes));
}

void Book::refuse_for_space(const Plan& plan, const Planner& planner) const {
  const auto& segment = plan.segments.front();
  const auto count = static_cast<std::size_t>(plan.nodes) + static_cast<std::size_t>(plan.spares);
  const auto free = planner.available_during({segment.start, segment.end}).size();
  const auto origin = std::chrono::ceil<std::chrono::minutes>(segment.start);
  const auto horizon = static_cast<Minute>(kLookAhead / std::chrono::minutes{1});
  const auto length = std::chrono::ceil<std::chrono::minutes>(segment.end - segment.start).count();
  const auto starts = feasible_starts(WindowSearch(planner.free_times(origin, horizon), horizon).reach(count),
                                      static_cast<Minute>(length));
  const std::string spares =
      plan.spares > 0 ? fmt::format(" ({} and {} spares)", plan.nodes, plan.spares) : "";
  const std::string remedy =
      starts.empty() ? std::string("take fewer nodes or less time")
                     : fmt::format("enough are free from {}",
                                   format_time(origin + std::chrono::minutes{starts.front().begin}));
  refuse(409, "plan {}: wants {} node{}{}, {} of partition {} are free until {}; {}", plan.name, count,
         count == 1 ? "" : "s", spares, free, plan.partition, format_time(segment.end), remedy);
}

// The reservations of a plan that stands in the ledger as an intent: all of them or none.
void Book::reserve(Plan& plan) {
  std::size_t made = 0;
  try {
    for (; made < plan.segments.size(); ++made)
      cluster_.create_reservation(to_reservation(plan, plan.segments[made]));
  } catch (const ClusterError& error) {
    metrics_.count_cluster_error();
    if (error.code() == ClusterError::Code::kUnreachable) {
      throw ClusterError(error.code(),
                         fmt::format("plan {}: {}; whether it is booked is settled when slurmctld "
                                     "answers, see 'stint plan show {}'",
                                     plan.name, error.what(), plan.name));
    }
    for (std::size_t k = 0; k < made; ++k) cluster_.delete_reservation(plan.segments[k].reservation);
    ledger_.drop_plan(plan.id);
    refuse(409, "plan {}: Slurm refuses the reservation: {}", plan.name, error.what());
  }
  ledger_.set_phase(plan.id, Phase::kBooked);
  plan.phase = Phase::kBooked;
}

std::vector<std::uint32_t> Book::jobs_in(const Plan& plan) const {
  std::vector<std::uint32_t> ids;
  for (const auto& job : cluster_.jobs()) {
    for (const auto& segment : plan.segments) {
      if (job.reservation == segment.reservation) ids.push_back(job.id);
    }
  }
  return ids;
}

Plan Book::cancel(const std::string& name, std::uint32_t uid, bool force) {
  const std::lock_guard lock(change_);
  Plan plan = show(name);
  if (plan.owner_uid != uid && !cluster_.is_operator(uid)) {
    refuse(403, "plan {}: belongs to {}; only its owner or an operator may cancel it", name, plan.owner);
  }
  if (!plan.live_at(now()))
    refuse(409, "plan {}: is over already ({})", name, to_string(plan.state_at(now())));
  if (plan.phase == Phase::kBooking)
    refuse(409, "plan {}: is being booked; try again in a few seconds", name);
  const auto jobs = jobs_in(plan);
  if (!jobs.empty() && !force) {
    refuse(409, "plan {}: jobs {} are in it; end them, or cancel with --force, which ends them", name,
           fmt::join(jobs, ", "));
  }
  ledger_.set_phase(plan.id, Phase::kCancelling, {}, force);
  plan.phase = Phase::kCancelling;
  plan.force = force;
  publish();
  note(plan, user_of_uid(uid), force ? "cancelled, its jobs ended" : "cancelled");
  finish_cancel(plan, kJobsEnd);
  return plan;
}

// From Phase::kCancelling to cancelled, or back to booked where jobs came in that may not be ended.
void Book::finish_cancel(Plan& plan, std::chrono::milliseconds patience) {
  try {
    if (plan.force) end_jobs(plan, patience);
    remove_reservations(plan);
  } catch (const ClusterError& error) {
    metrics_.count_cluster_error();
    if (plan.force || error.code() != ClusterError::Code::kBusy) throw;
    ledger_.set_phase(plan.id, Phase::kBooked);
    plan.phase = Phase::kBooked;
    publish();
    refuse(409, "plan {}: jobs {} came into it; end them, or cancel with --force, which ends them", plan.name,
           fmt::join(jobs_in(plan), ", "));
  }
  ledger_.set_phase(plan.id, Phase::kCancelled);
  plan.phase = Phase::kCancelled;
  publish();
  spdlog::info("plan {}: cancelled", plan.name);
}

void Book::end_jobs(const Plan& plan, std::chrono::milliseconds patience) {
  auto jobs = jobs_in(plan);
  for (const auto id : jobs) {
    try {
      cluster_.cancel_job(id);
    } catch (const ClusterError& error) {
      if (error.code() != ClusterError::Code::kMissing) throw;
    }
  }
  for (auto waited = std::chrono::milliseconds{}; !jobs.empty() && waited < patience; waited += kPoll) {
    wait_(kPoll);
    jobs = jobs_in(plan);
  }
  if (jobs.empty()) return;
  throw ClusterError(
      ClusterError::Code::kBusy,
      fmt::format("plan {}: jobs {} do not end; stintd goes on trying", plan.name, fmt::join(jobs, ", ")));
}

void Book::remove_reservations(const Plan& plan) {
  for (const auto& segment : plan.segments) {
    try {
      cluster_.delete_reservation(segment.reservation);
    } catch (const ClusterError& error) {
      if (error.code() != ClusterError::Code::kMissing) throw;
    }
  }
}

void Book::reconcile() {
  const std::lock_guard lock(change_);
  if (table_path_.empty()) {
    table_path_ = cluster_.facts().state_save_location + "/" + contract::kPlanTableFile;
  }
  Reservations reservations;
  for (auto& reservation : cluster_.reservations()) reservations[reservation.name] = reservation;
  auto plans = ledger_.plans_since(now() - kRemembered);
  for (auto& plan : plans) {
    try {
      settle(plan, reservations);
    } catch (const Error& error) {
      spdlog::warn("{}", error.what());
    }
  }
  const auto nodes = cluster_.nodes();
  std::set<std::string> suspects;
  std::vector<std::string> lost;
  for (const auto& node : nodes) {
    if (!node.usable()) lost.push_back(node.name);
  }
  {
    const std::lock_guard lost_lock(lost_mutex_);
    lost_ = lost;
  }
  for (auto& plan : plans) {
    if (plan.phase == Phase::kBooked && plan.live_at(now())) swap_dead_nodes(plan, nodes);
  }
  suspects_ = {lost.begin(), lost.end()};
  publish();
}

void Book::settle(Plan& plan, const Reservations& reservations) {
  switch (plan.phase) {
    case Phase::kBooking:
      return settle_booking(plan, reservations);
    case Phase::kBooked:
      if (plan.live_at(now())) settle_booked(plan, reservations);
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
void Book::settle_booking(Plan& plan, const Reservations& reservations) {
  std::vector<std::string> ours;
  for (const auto& segment : plan.segments) {
    const auto found = reservations.find(segment.reservation);
    if (found != reservations.end() && same(segment, found->second)) ours.push_back(segment.reservation);
  }
  if (ours.size() == plan.segments.size()) {
    ledger_.set_phase(plan.id, Phase::kBooked);
    plan.phase = Phase::kBooked;
    spdlog::info("plan {}: its reservations exist; the booking is completed", plan.name);
    note(plan, kItself, "booked", booking_text(plan));
    return;
  }
  for (const auto& reservation : ours) cluster_.delete_reservation(reservation);
  plan.reason = "stintd ended while it was booked; nothing is reserved, book it again";
  ledger_.set_phase(plan.id, Phase::kFailed, plan.reason);
  plan.phase = Phase::kFailed;
  note(plan, kItself, "failed", plan.reason);
  spdlog::warn("plan {}: {}", plan.name, plan.reason);
}

void Book::settle_booked(Plan& plan, const Reservations& reservations) {
  for (std::size_t k = 0; k < plan.segments.size(); ++k) {
    auto& segment = plan.segments[k];
    if (segment.end <= now()) continue;  // Slurm removes what is over
    const auto found = reservations.find(segment.reservation);
    if (found != reservations.end()) {
      if (same(segment, found->second)) continue;
      // An admin changed it, or stintd ended in the middle of a swap: Slurm's word counts.
      segment.nodes = found->second.nodes;
      segment.start = found->second.start;
      segment.end = found->second.end;
      ledger_.set_segment(plan.id, k, segment);
      note(plan, kItself, "reservation changed",
           fmt::format("{} is now {} from {} to {}", segment.reservation, format_host_list(segment.nodes),
                       format_time(segment.start), format_time(segment.end)));
      spdlog::info("plan {}: reservation {} was changed; the ledger follows", plan.name, segment.reservation);
      continue;
    }
    auto again = to_reservation(plan, segment);
    again.start = std::max(again.start, now());
    try {
      cluster_.create_reservation(again);
      segment.start = again.start;
      ledger_.set_segment(plan.id, k, segment);
      note(plan, kItself, "reservation made again", segment.reservation);
      spdlog::warn("plan {}: reservation {} was missing and is made again", plan.name, segment.reservation);
    } catch (const ClusterError& error) {
      metrics_.count_cluster_error();
      if (error.code() == ClusterError::Code::kUnreachable) throw;
      plan.reason = fmt::format("its reservation was removed and cannot be made again: {}", error.what());
      ledger_.set_phase(plan.id, Phase::kFailed, plan.reason);
      plan.phase = Phase::kFailed;
      note(plan, kItself, "failed", plan.reason);
      spdlog::error("plan {}: {}", plan.name, plan.reason);
      return;
    }
  }
}

// A create that was on its way when stintd was killed may take effect after the intent was undone.
void Book::remove_leftover(const Plan& plan, const Reservations& reservations) {
  for (const auto& segment : plan.segments) {
    const auto found = reservations.find(segment.reservation);
    if (found == reservations.end() || !same(segment, found->second)) continue;
    const auto newest = ledger_.find_plan(plan.name);
    if (newest && newest->id != plan.id && newest->live_at(now())) continue;
    cluster_.delete_reservation(segment.reservation);
    spdlog::info("plan {}: a left-over reservation {} is removed", plan.name, segment.reservation);
  }
}

void Book::swap_dead_nodes(Plan& plan, const std::vector<ClusterNode>& nodes) {
  for (std::size_t k = 0; k < plan.segments.size(); ++k) {
    if (plan.segments[k].end <= now()) continue;
    const auto members = plan.segments[k].nodes;
    for (const auto& node : nodes) {
      // A job may still run on a drained node; a node that is only rebooting gets a second look.
      const bool gone = node.down || (node.drained && node.idle);
      const bool certain = node.reason.starts_with("stint:") || suspects_.contains(node.name);
      if (gone && certain && contains(members, node.name)) swap_node(plan, k, node.name);
    }
  }
}

bool Book::swap_node(Plan& plan, std::size_t k, const std::string& dead) {
  auto segment = plan.segments[k];
  const Window window{std::max(segment.start, now()), segment.end};
  const Planner planner = capacity_.planner({plan.partition, {}, 0});
  const auto substitute = planner.nearest(dead, window);
  if (!substitute) return false;
  std::replace(segment.nodes.begin(), segment.nodes.end(), dead, *substitute);
  try {
    cluster_.set_reservation_nodes(segment.reservation, segment.nodes);
  } catch (const ClusterError& error) {
    metrics_.count_cluster_error();
    spdlog::warn("plan {}: node {} cannot be replaced by {} yet: {}", plan.name, dead, *substitute,
                 error.what());
    return false;
  }
  ledger_.set_segment(plan.id, k, segment);
  plan.segments[k] = segment;
  metrics_.count_swap();
  note(plan, kItself, "node swapped", fmt::format("{} is replaced by {}", dead, *substitute));
  spdlog::info("plan {}: node {} is replaced by {}", plan.name, dead, *substitute);
  for (const auto job : jobs_in(plan)) {
    ledger_.add_event({now_(), job, "node_swapped", dead,
                       fmt::format("replaced by {} in plan {}", *substitute, plan.name)});
  }
  return true;
}

// The newest plan of each name; a plan that is only being booked is not in the table.
void Book::publish() {
  PlanTable table;
  std::map<std::string, Plan> newest;
  std::map<std::string, int> by_state;
  for (auto& plan : ledger_.plans_since(now() - kRemembered)) {
    ++by_state[std::string(to_string(plan.state_at(now())))];
    if (plan.phase != Phase::kBooking) newest[plan.name] = std::move(plan);
  }
  metrics_.set_plans(by_state);
  for (const auto& [name, plan] : newest) table.plans.push_back(to_table_row(plan, now()));
  table.written = kNoStamp;
  const std::string rows = table.format();
  if (table_path_.empty())
    table_path_ = cluster_.facts().state_save_location + "/" + contract::kPlanTableFile;
  if (rows == published_ && holds(table_path_, table_text_)) return;
  table.written = now();
  table_text_ = table.format();
  write_file_atomically(table_path_, table_text_);
  published_ = rows;
}

}  // namespace stint::reservations
