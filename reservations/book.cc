// SPDX-License-Identifier: Apache-2.0
#include "reservations/book.h"

#include <fmt/format.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>

#include "base/contract.h"
#include "base/ini.h"
#include "base/log.h"
#include "base/text.h"
#include "reservations/counted.h"
#include "reservations/kill_point.h"
#include "reservations/notices.h"
#include "reservations/people.h"
#include "reservations/refund.h"
#include "reservations/refusal.h"
#include "reservations/users.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr seconds kRemembered = std::chrono::days{7};  // how long plans that are over are listed
constexpr seconds kLookAhead = std::chrono::days{60};  // for "free from …"
constexpr seconds kClockSlack{60};                     // a start this far back still means now
constexpr sys_seconds kNoStamp{seconds{1}};            // of tables that are compared, not written

// Whether the file is as it was written: somebody may have removed or changed it.
bool holds(const std::string& path, const std::string& text) {
  try {
    return read_file(path, text.size()) == text;
  } catch (const Error&) {
    return false;
  }
}

std::string refund_text(const Plan& plan, const Refund& refund) {
  if (plan.price.cents == 0) return {};
  return fmt::format("{} of {} {} given back ({})", amount_text(refund.cents), plan.price.amount(),
                     plan.price.currency, refund.why);
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

// An offer that is taken after it should have begun ends later than it was offered.
std::string ends_too_late(const Offer& offer, const OfferQuery& query) {
  if (query.before == sys_seconds{} || offer.finish() <= query.before) return {};
  return fmt::format("begun now it would end {}, and all was to be over by {}", format_time(offer.finish()),
                     format_time(query.before));
}

std::optional<IdleRules> idle_rules(const Policy& policy) {
  if (!policy.release_idle_after) return std::nullopt;
  return IdleRules{*policy.release_idle_after, policy.release_notice};
}

// The plugin in slurmctld reads it as SlurmUser. Where plans are private, so is the table.
void write_table(const ClusterFacts& facts, const std::string& path, const std::string& text) {
  write_file_atomically(path, text, facts.private_reservations ? 0600 : 0644);
  if (::geteuid() == 0 && ::chown(path.c_str(), facts.slurm_uid, static_cast<gid_t>(-1)) != 0)
    fail("plan table {}: cannot be given to SlurmUser: {}", path, errno_text(errno));
}

}  // namespace

Book::Book(Cluster& cluster, Ledger& ledger, Metrics& metrics, Settings settings, Now now, Wait wait)
    : cluster_(cluster),
      ledger_(ledger),
      metrics_(metrics),
      settings_(std::move(settings)),
      now_(std::move(now)),
      accounts_(cluster_, ledger_, settings_.money),
      gate_(cluster_, accounts_, settings_),
      capacity_(cluster_, ledger_, settings_.policy.allowed_features, now_),
      desk_(capacity_, gate_, accounts_, settings_, now_),
      meter_(ledger_),
      idle_(ledger_, idle_rules(settings_.policy)),
      keeper_(cluster_, ledger_, metrics_, capacity_, now_, std::move(wait), [this] { publish(); }) {}

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
  Plan plan;
  plan.name = request.name;
  plan.created = now();
  plan.tags = request.tags;
  set_people(plan, request, uid);
  plan.account = account_for(plan, request, uid);
  gate_.check_booker(subject, uid, plan.account);
  if (request.offer.empty()) gate_.check_size(subject, request.nodes + request.spares, request.duration);
  check_count(subject, plan.owner, plan.owner_uid, uid);
  check_name_is_free(request.name);
  if (request.offer.empty()) {
    plan_directly(plan, request);
  } else {
    plan_by_offer(plan, request.offer, uid);
  }
  plan.priced_gpus = plan.kind.gpus;
  plan.kind.gpus = capacity_.node_class(plan.kind).gpus;
  plan.needs_approval = gate_.needs_approval(plan.nodes + plan.spares, plan.price.cents, uid, plan.account);
  if (request.quote) {
    accounts_.check_budget(subject, plan.account, plan.price.cents, plan.segments.front().start);
    return plan;
  }
  check_budget(plan, plan.price.cents, uid);
  keeper_.book(plan, user_of_uid(uid));
  publish();
  spdlog::info("plan {}: {} ({}) for {}: {}", plan.name, counted(plan.segments[0].nodes.size(), "node"),
               format_host_list(plan.segments[0].nodes), plan.owner, to_string(plan.phase));
  return plan;
}

std::vector<HistoryEntry> Book::history(const std::string& name) const {
  return ledger_.history(show(name).id);
}

void Book::plan_directly(Plan& plan, const PlanRequest& request) const {
  const std::string subject = "plan " + request.name;
  plan.nodes = request.nodes;
  plan.spares = request.spares;
  plan.kind = {gate_.partition(subject, request.partition), request.features, request.gpus_per_node};
  Segment segment;
  segment.reservation = contract::reservation_name(plan.name, 0);
  set_window(segment, request);
  plan.segments.push_back(segment);
  plan.price = pricing(plan)(static_cast<std::size_t>(plan.nodes), plan.windows());
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
  const auto too_late = ends_too_late(offer, shelved.request.query);
  if (const auto why = too_late.empty() ? obstacle(offer, planner) : too_late; !why.empty()) {
    throw OfferTaken(fmt::format("offer {}: {}; nothing is booked", id, why),
                     desk_.search(shelved.request, uid));
  }
  plan.nodes = static_cast<int>(shelved.request.query.nodes);
  plan.spares = static_cast<int>(shelved.request.query.spares);
  plan.kind = shelved.request.kind;
  plan.price = offer.price;
  plan.switches = static_cast<int>(offer.switches());
  for (const auto& segment : offer.segments) {
    plan.segments.push_back({contract::reservation_name(plan.name, plan.segments.size()),
                             segment.window.start, segment.window.end, segment.nodes});
  }
}

void Book::check_count(const std::string& subject, const std::string& owner, std::uint32_t owner_uid,
                       std::uint32_t uid) const {
  const int most = settings_.policy.max_plans;
  if (most == 0 || cluster_.is_operator(uid) || cluster_.is_operator(owner_uid)) return;
  const auto plans = ledger_.plans_since(now());
  const auto count = std::count_if(plans.begin(), plans.end(), [&](const Plan& plan) {
    return plan.owner_uid == owner_uid && plan.live_at(now());
  });
  if (count < most) return;
  refuse(403, "{}: {} has {} plans, at most {} are allowed at a time ([policy] max_plans); cancel one first",
         subject, owner, count, most);
}

void Book::check_name_is_free(const std::string& name) const {
  const auto existing = ledger_.find_plan(name);
  if (!existing || !existing->live_at(now())) return;
  refuse(409, "plan {}: exists already ({}); take another name, or 'stint plan cancel {}' first", name,
         to_string(existing->state_at(now())), name);
}

void Book::set_people(Plan& plan, const PlanRequest& request, std::uint32_t uid) const {
  const auto users = request.users.empty() ? std::vector<std::string>{user_of_uid(uid)} : request.users;
  for (const auto& user : users) add_user(plan, user);
  accounts_.check_shared("plan " + plan.name, request.accounts, uid);
  plan.accounts = request.accounts;
  set_members(plan, accounts_.members_of(plan.accounts));
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

// An offer was searched for an account; another one may be named when it is booked.
std::string Book::account_for(const Plan& plan, const PlanRequest& request, std::uint32_t uid) const {
  const bool as_searched = request.account.empty() && !request.offer.empty();
  return accounts_.choose("plan " + plan.name,
                          as_searched ? desk_.find(request.offer).request.account : request.account,
                          plan.owner_uid, uid);
}

// Of what is to be booked now, so that those who answer for the budget hear when it is not.
void Book::check_budget(const Plan& plan, std::int64_t more, std::uint32_t uid) const {
  const auto start = plan.segments.front().start;
  try {
    accounts_.check_budget("plan " + plan.name, plan.account, more, start);
  } catch (const Refusal& refusal) {
    const auto standing = accounts_.standing(plan.account, start);
    const bool told = settings_.notices.on() && settings_.notices.send.contains(NoticeKind::kBudget);
    const auto notice = standing && told
                            ? notice_of_refusal(*standing, plan, user_of_uid(uid), refusal.what(), now())
                            : std::nullopt;
    if (notice) ledger_.add_notices({to_outbox(*notice)});
    throw;
  }
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
  const Scene scene = capacity_.look();
  const Planner planner = capacity_.planner(plan.kind, scene);
  segment.nodes = planner.choose(static_cast<std::size_t>(plan.nodes) + static_cast<std::size_t>(plan.spares),
                                 {segment.start, segment.end});
  if (segment.nodes.empty()) refuse_for_space(plan, planner, scene);
  plan.switches = static_cast<int>(planner.leaf_switches(segment.nodes));
}

void Book::refuse_for_space(const Plan& plan, const Planner& planner, const Scene& scene) const {
  const auto& segment = plan.segments.front();
  OfferQuery query;
  query.nodes = static_cast<std::size_t>(plan.nodes);
  query.spares = static_cast<std::size_t>(plan.spares);
  query.duration = segment.end - segment.start;
  query.after = segment.start;
  query.before = segment.end + kLookAhead;
  query.min_segment = std::min<seconds>(query.duration, std::chrono::hours{1});
  query.later_end.clear();
  query.split = "'stint plan search' finds splits, with --segments {}";
  query.most = 1;
  desk_.tell_shortage(plan.kind, scene, query);
  const auto later = find_offers(
      planner, [](auto&&...) { return Price{}; }, query);
  if (later.short_of_nodes)
    refuse(409, "plan {}: {}; what would work: {}", plan.name, later.reason, later.remedy);
  const auto supply = Capacity::supply(plan.kind, scene);
  const auto count = query.nodes + query.spares;
  const auto free = planner.available_during({segment.start, segment.end}).size();
  const std::string remedy =
      later.offers.empty() ? fmt::format("{}; what would work: {}", later.reason, later.remedy)
                           : fmt::format("enough are free from {}",
                                         format_time(later.offers.front().segments.front().window.start));
  refuse(409, "plan {}: wants {}{}, {} of partition {}{} {} free until {}{}; {}", plan.name,
         counted(count, "node"),
         plan.spares > 0 ? fmt::format(" ({} and {})", plan.nodes, counted(plan.spares, "spare")) : "", free,
         plan.kind.partition,
         plan.kind.features.empty() ? "" : fmt::format(" with {}", fmt::join(plan.kind.features, ",")),
         free == 1 ? "is" : "are", format_time(segment.end), supply.whole() ? "" : "; " + supply.text(),
         remedy);
}

Plan Book::owned_plan(const std::string& name, std::uint32_t uid, const std::string& deed) const {
  Plan plan = show(name);
  if (plan.owner_uid != uid && !cluster_.is_operator(uid)) {
    refuse(403, "plan {}: belongs to {}; only its owner or an operator may {} it", name, plan.owner, deed);
  }
  return plan;
}

void Book::check_settled(const Plan& plan) const {
  if (plan.phase == Phase::kBooking || ledger_.open_change(plan.id))
    refuse(409, "plan {}: a change of it is on its way; try again in a few seconds", plan.name);
}

// A plan that the caller may change now.
Plan Book::own_plan(const std::string& name, std::uint32_t uid, const std::string& deed) const {
  Plan plan = owned_plan(name, uid, deed);
  if (!plan.live_at(now()) || plan.phase == Phase::kCancelling)
    refuse(409, "plan {}: is over already ({})", name, to_string(plan.state_at(now())));
  check_settled(plan);
  return plan;
}

// The plan with what it gives back, unless something keeps it from being cancelled.
std::pair<Plan, Refund> Book::ended(const std::string& name, std::uint32_t uid, bool force) {
  Plan plan = own_plan(name, uid, "cancel");
  std::vector<std::uint32_t> jobs;
  for (const auto& job : keeper_.jobs_in(plan)) jobs.push_back(job.id);
  if (!jobs.empty() && !force) {
    const bool one = jobs.size() == 1;
    refuse(409, "plan {}: job{} {} {} in it; end {}, or cancel with --force, which ends {}", name,
           one ? "" : "s", fmt::join(jobs, ", "), one ? "is" : "are", one ? "it" : "them",
           one ? "it" : "them");
  }
  auto refund = plan.phase == Phase::kPending
                    ? Refund{plan.price.cents, "100 %: it was not approved yet"}
                    : refund_of(settings_.money.refund, plan.price, plan.windows(), now());
  plan.refund_cents = refund.cents;
  return {plan, refund};
}

Plan Book::cancel(const std::string& name, std::uint32_t uid, bool force) {
  const std::lock_guard lock(change_);
  auto [plan, refund] = ended(name, uid, force);
  const bool at_once = force || plan.phase == Phase::kPending;
  keeper_.cancel(plan, at_once, user_of_uid(uid), refund_text(plan, refund));
  return plan;
}

std::pair<Plan, std::string> Book::quote_cancel(const std::string& name, std::uint32_t uid, bool force) {
  const std::lock_guard lock(change_);
  const auto [plan, refund] = ended(name, uid, force);
  return {plan, refund_text(plan, refund)};
}

Plan Book::approve(const std::string& name, std::uint32_t uid) {
  const std::lock_guard lock(change_);
  Plan plan = show(name);
  gate_.check_approver("plan " + name, uid, plan.account);
  if (plan.phase != Phase::kPending)
    refuse(409, "plan {}: does not wait for approval, it is {}", name, to_string(plan.state_at(now())));
  keeper_.approve(plan, user_of_uid(uid));
  publish();
  return plan;
}

void Book::reconcile() {
  const std::lock_guard lock(change_);
  learn_facts();
  const auto nodes = cluster_.nodes();
  std::vector<std::string> lost;
  for (const auto& node : nodes) {
    if (!node.usable()) lost.push_back(node.name);
  }
  {
    const std::lock_guard lost_lock(lost_mutex_);
    lost_ = lost;
  }
  auto plans = ledger_.plans_since(now() - kRemembered);
  keeper_.reconcile(plans, nodes, facts_->booted);
  refresh_members(plans);
  const auto jobs = cluster_.jobs();
  meter_.measure(plans, jobs, nodes, now());
  release_idle(plans, jobs);
  publish();
}

void Book::learn_facts() {
  auto facts = cluster_.facts();
  if (facts_ && facts_->private_reservations != facts.private_reservations) published_.clear();
  facts_ = std::move(facts);
  partitions_.clear();
  for (auto& partition : cluster_.partitions()) partitions_[partition.name] = partition;
  table_path_ = facts_->state_save_location + "/" + contract::kPlanTableFile;
}

// The newest plan of each name; a plan that is only being booked is not in the table.
void Book::publish() {
  PlanTable table;
  std::map<std::string, Plan> newest;
  for (auto& plan : ledger_.plans_since(now() - kRemembered)) {
    if (plan.phase != Phase::kBooking) newest[plan.name] = std::move(plan);
  }
  if (!facts_) learn_facts();
  drop_old(newest, now());
  learn_limits(newest);
  for (const auto& [name, plan] : newest) {
    table.plans.push_back(to_published_row(plan, now()));
    table.plans.back().max_time = partitions_[plan.kind.partition].max_time;
    table.plans.back().partition_qos = partitions_[plan.kind.partition].qos;
  }
  table.limits = limits_;
  table.written = kNoStamp;
  const auto [cut, rows] = fit_table(table, PlanTable::kMaxBytes);
  if (cut != table_cut_ && cut != TableCut::kNothing)
    spdlog::error("the plan table would be too large for slurmctld: {}", to_string(cut));
  table_cut_ = cut;
  if (cut == TableCut::kHopeless) return;
  if (rows == published_ && holds(table_path_, table_text_)) return;
  table.written = now();
  table_text_ = table.format();
  write_table(*facts_, table_path_, table_text_);
  kill_point("table.write");
  published_ = rows;
}

}  // namespace stint::reservations
