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
constexpr sys_seconds kNoStamp{seconds{1}};            // of tables that are compared, not written
constexpr sys_seconds kForEver{seconds{1LL << 36}};

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
      wait_(std::move(wait)) {}

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
  check_policy(request, uid);
  check_name_is_free(request.name);
  Plan plan;
  plan.name = request.name;
  plan.nodes = request.nodes;
  plan.spares = request.spares;
  plan.created = now();
  set_people(plan, request, uid);
  plan.partition = choose_partition(request);
  Segment segment;
  segment.reservation = contract::reservation_name(plan.name, 0);
  set_window(segment, request);
  plan.segments.push_back(segment);
  plan.price = price_of(settings_.node_hour, settings_.currency, plan.nodes, request.duration);
  choose_nodes(plan);
  if (request.quote) return plan;
  plan.id = ledger_.add_plan(plan);
  reserve(plan);
  publish();
  spdlog::info("plan {}: booked {} nodes ({}) for {}", plan.name, plan.segments[0].nodes.size(),
               format_host_list(plan.segments[0].nodes), plan.owner);
  return plan;
}

void Book::check_policy(const PlanRequest& request, std::uint32_t uid) const {
  const auto& policy = settings_.policy;
  const bool by_name = policy.book == Policy::Book::kUsers && contains(policy.users, user_of_uid(uid));
  if (policy.book != Policy::Book::kEveryone && !by_name && !cluster_.is_operator(uid)) {
    refuse(403, "plan {}: user {} may not book plans here; ask an operator ([policy] book)", request.name,
           user_of_uid(uid));
  }
  const int wanted = request.nodes + request.spares;
  if (policy.max_nodes > 0 && wanted > policy.max_nodes) {
    refuse(403, "plan {}: wants {} nodes with its spares, at most {} are allowed ([policy] max_nodes)",
           request.name, wanted, policy.max_nodes);
  }
  if (policy.max_duration > seconds{} && request.duration > policy.max_duration) {
    refuse(403, "plan {}: wants {}, at most {} are allowed ([policy] max_duration)", request.name,
           format_duration(request.duration), format_duration(policy.max_duration));
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
  if (segment.start > now() + settings_.policy.max_lead) {
    refuse(403, "plan {}: starts later than {} from now ([policy] max_lead)", request.name,
           format_duration(settings_.policy.max_lead));
  }
  segment.end = segment.start + request.duration;
}

std::string Book::choose_partition(const PlanRequest& request) const {
  const auto partitions = cluster_.partitions();
  std::string chosen;
  std::vector<std::string> names;
  for (const auto& partition : partitions) {
    names.push_back(partition.name);
    if (request.partition.empty() ? partition.is_default : partition.name == request.partition)
      chosen = partition.name;
  }
  if (chosen.empty() && request.partition.empty()) {
    refuse(400, "plan {}: Slurm has no default partition; name one of {}", request.name,
           fmt::join(names, ", "));
  }
  if (chosen.empty()) {
    refuse(400, "plan {}: there is no partition '{}'; there are {}", request.name, request.partition,
           fmt::join(names, ", "));
  }
  const auto& allowed = settings_.policy.allowed_partitions;
  if (!allowed.empty() && !contains(allowed, chosen)) {
    refuse(403, "plan {}: partition {} is not for plans; use one of {}", request.name, chosen,
           fmt::join(allowed, ", "));
  }
  return chosen;
}

// Nodes of the partition; taken by their own state, by reservations, by plans that wait for their
// reservation, and by jobs.
Planner Book::planner_of(const std::string& partition) const {
  std::map<std::string, std::vector<std::string>> switches;
  for (auto& place : cluster_.topology().places) switches[place.node] = std::move(place.switches);
  std::vector<PlannerNode> nodes;
  std::vector<std::string> unusable;
  for (const auto& node : cluster_.nodes()) {
    if (!contains(node.partitions, partition)) continue;
    nodes.push_back({node.name, switches[node.name]});
    if (!node.usable()) unusable.push_back(node.name);
  }
  Planner planner(std::move(nodes));
  planner.add_span(unusable, {sys_seconds{}, kForEver});
  for (const auto& reservation : cluster_.reservations()) {
    planner.add_span(reservation.nodes, {reservation.start, reservation.end});
  }
  for (const auto& plan : ledger_.plans_since(now())) {
    if (!plan.live_at(now())) continue;
    for (const auto& segment : plan.segments) planner.add_span(segment.nodes, {segment.start, segment.end});
  }
  for (const auto& job : cluster_.jobs()) {
    if (job.state == JobState::kRunning)
      planner.add_span(job.nodes, {sys_seconds{}, job.end.value_or(kForEver)});
  }
  return planner;
}

void Book::choose_nodes(Plan& plan) const {
  auto& segment = plan.segments.front();
  const Planner planner = planner_of(plan.partition);
  segment.nodes = planner.choose(static_cast<std::size_t>(plan.nodes) + static_cast<std::size_t>(plan.spares),
                                 {segment.start, segment.end});
  if (segment.nodes.empty()) refuse_for_space(plan, planner);
  plan.switches = static_cast<int>(planner.leaf_switches(segment.nodes));
}

void Book::refuse_for_space(const Plan& plan, const Planner& planner) const {
  const auto& segment = plan.segments.front();
  const auto count = static_cast<std::size_t>(plan.nodes) + static_cast<std::size_t>(plan.spares);
  const auto free = planner.available_during({segment.start, segment.end}).size();
  const auto first = planner.available_time_first(count, segment.end - segment.start, segment.start,
                                                  segment.start + kLookAhead);
  const std::string spares =
      plan.spares > 0 ? fmt::format(" ({} and {} spares)", plan.nodes, plan.spares) : "";
  const std::string remedy = first ? fmt::format("enough are free from {}", format_time(*first))
                                   : std::string("take fewer nodes or less time");
  refuse(409, "plan {}: wants {} node{}{}, {} of partition {} are free until {}; {}", plan.name, count,
         count == 1 ? "" : "s", spares, free, plan.partition, format_time(segment.end), remedy);
}

// The reservation of a plan that stands in the ledger as an intent.
void Book::reserve(Plan& plan) {
  try {
    cluster_.create_reservation(to_reservation(plan, plan.segments.front()));
  } catch (const ClusterError& error) {
    metrics_.count_cluster_error();
    if (error.code() == ClusterError::Code::kUnreachable) {
      throw ClusterError(error.code(),
                         fmt::format("plan {}: {}; whether it is booked is settled when slurmctld "
                                     "answers, see 'stint plan show {}'",
                                     plan.name, error.what(), plan.name));
    }
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
  const auto found = reservations.find(plan.segments.front().reservation);
  if (found != reservations.end() && same(plan.segments.front(), found->second)) {
    ledger_.set_phase(plan.id, Phase::kBooked);
    plan.phase = Phase::kBooked;
    spdlog::info("plan {}: its reservation exists; the booking is completed", plan.name);
    return;
  }
  plan.reason = "stintd ended while it was booked; nothing is reserved, book it again";
  ledger_.set_phase(plan.id, Phase::kFailed, plan.reason);
  plan.phase = Phase::kFailed;
  spdlog::warn("plan {}: {}", plan.name, plan.reason);
}

void Book::settle_booked(Plan& plan, const Reservations& reservations) {
  for (std::size_t k = 0; k < plan.segments.size(); ++k) {
    auto& segment = plan.segments[k];
    const auto found = reservations.find(segment.reservation);
    if (found != reservations.end()) {
      if (same(segment, found->second)) continue;
      // An admin changed it, or stintd ended in the middle of a swap: Slurm's word counts.
      segment.nodes = found->second.nodes;
      segment.start = found->second.start;
      segment.end = found->second.end;
      ledger_.set_segment(plan.id, k, segment);
      spdlog::info("plan {}: reservation {} was changed; the ledger follows", plan.name, segment.reservation);
      continue;
    }
    auto again = to_reservation(plan, segment);
    again.start = std::max(again.start, now());
    try {
      cluster_.create_reservation(again);
      segment.start = again.start;
      ledger_.set_segment(plan.id, k, segment);
      spdlog::warn("plan {}: reservation {} was missing and is made again", plan.name, segment.reservation);
    } catch (const ClusterError& error) {
      metrics_.count_cluster_error();
      if (error.code() == ClusterError::Code::kUnreachable) throw;
      plan.reason = fmt::format("its reservation was removed and cannot be made again: {}", error.what());
      ledger_.set_phase(plan.id, Phase::kFailed, plan.reason);
      plan.phase = Phase::kFailed;
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
  Planner planner = planner_of(plan.partition);
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
