// SPDX-License-Identifier: Apache-2.0
// Changes of plans that are booked: extend, shrink, share, transfer, tag; and the release of those that are
// idle.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/text.h"
#include "reservations/book.h"
#include "reservations/counted.h"
#include "reservations/people.h"
#include "reservations/users.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr std::size_t kMostHistory = 1'000;
constexpr seconds kLookAhead = std::chrono::weeks{8};  // for another segment

// What runs would run on, and nobody would lead it through the plan. What waits is the shepherd's.
void keep_users_with_running_jobs(const Plan& plan, const Plan& wanted, const std::vector<ClusterJob>& jobs) {
  for (const auto& job : jobs) {
    if (job.state == JobState::kPending || wanted.may_use(job.uid)) continue;
    refuse(409, "plan {}: job {} of {} runs in it; once it has ended {} can be taken off", plan.name, job.id,
           user_of_uid(job.uid), user_of_uid(job.uid));
  }
}

std::string people_text(const Plan& plan) {
  auto text = fmt::format("users {}", fmt::join(plan.users, ","));
  if (!plan.accounts.empty()) text += fmt::format(" accounts {}", fmt::join(plan.accounts, ","));
  return text;
}

bool same_shape(const Plan& a, const Plan& b) {
  return a.nodes == b.nodes && a.spares == b.spares && a.segments == b.segments;
}

std::string size_text(const Plan& plan) {
  return fmt::format("{}+{} nodes until {}", plan.nodes, plan.spares, format_time(plan.segments.back().end));
}

// What is given up comes back by the refund rule, as when all of it is cancelled. `deed`: why it is.
void keep_what_is_not_refunded(const RefundRule& rule, const Plan& plan, sys_seconds now,
                               const std::string& deed, Proposal& proposal) {
  const std::int64_t less = -proposal.adds_cents;
  const std::int64_t kept = less - less * rule.percent_at(plan.segments.front().start - now) / 100;
  proposal.wanted.price.cents += kept;
  proposal.wanted.price.kept_cents += kept;
  proposal.adds_cents += kept;
  if (less > 0)
    proposal.wanted.price.breakdown += fmt::format("; {} less for {}", amount_text(less - kept), deed);
}

// "project=llm,team=a; without cost"
std::string deed_text(const TagRequest& request) {
  std::string text = to_string(request.set);
  if (!request.remove.empty())
    text += fmt::format("{}without {}", text.empty() ? "" : "; ", fmt::join(request.remove, ", "));
  return text;
}

template <typename Work>
auto as_conflict(Work work) {
  try {
    return work();
  } catch (const Refusal&) {
    throw;
  } catch (const ClusterError&) {
    throw;
  } catch (const Error& error) {
    throw Refusal(409, error.what());
  }
}

}  // namespace

Pricing Book::pricing(const Plan& plan) const {
  return [this, kind = capacity_.node_class(plan.priced_kind())](std::size_t nodes,
                                                                 const std::vector<Window>& windows) {
    return settings_.money.prices.price({kind, nodes, windows, now()});
  };
}

ProposalAnswer Book::extension_of(const Plan& plan, const ExtendRequest& request) const {
  const Scene scene = capacity_.look();
  const Planner planner = capacity_.planner(plan.kind, scene);
  if (request.nodes || request.spares) {
    const int nodes = request.nodes.value_or(plan.nodes);
    const int spares = request.spares.value_or(plan.spares);
    if (nodes < plan.nodes || spares < plan.spares || nodes + spares == plan.nodes + plan.spares) {
      refuse(409, "plan {}: has {} and {}, {} and {} are no more; 'stint plan shrink' takes less", plan.name,
             counted(plan.nodes, "node"), counted(plan.spares, "spare"), nodes, spares);
    }
    check_widening(plan);
    return widen(plan, nodes, spares, planner, pricing(plan), now());
  }
  const sys_seconds end = plan.segments.back().end;
  if (request.until && *request.until <= end)
    refuse(409, "plan {}: ends {} anyway; 'stint plan shrink' makes it shorter", plan.name, format_time(end));
  const seconds more = request.until ? *request.until - end : request.duration;
  const sys_seconds latest = std::min(end + more + kLookAhead, now() + settings_.policy.max_lead + more);
  const sys_seconds earliest = gate_.earliest(now());
  // A later --until is more time too, so what fits later is asked for by its length.
  const std::string later = request.until ? "give --by " + format_duration(more) : "";
  Room room{now(), earliest, request.until.value_or(latest), later, latest};
  if (const auto supply = Capacity::supply(plan.kind, scene);
      supply.left() < static_cast<std::size_t>(plan.nodes) + static_cast<std::size_t>(plan.spares))
    room.shortage = supply.text();
  auto answer = lengthen(plan, more, planner, pricing(plan), room);
  if (answer.proposals.empty() && earliest > std::max(end, now()))
    answer.reason += fmt::format("; nothing may begin before {} ([policy] min_lead)", format_time(earliest));
  return answer;
}

// Nodes come to all segments that are not over, so also to one that has begun.
void Book::check_widening(const Plan& plan) const {
  const auto at = now();
  for (const auto& segment : plan.segments) {
    if (segment.end <= at) continue;
    const auto begin = std::max(segment.start, at);
    if (const auto earliest = gate_.earliest(at); begin < earliest) {
      refuse(403,
             "plan {}: more nodes would begin before {} ([policy] min_lead); book a second plan that begins "
             "then or later",
             plan.name, format_time(earliest));
    }
    return gate_.check_start("plan " + plan.name, begin, at);
  }
}

// An extension is held to the policy like a booking of the whole.
void Book::check_extension(const Plan& plan, std::uint32_t uid) const {
  const std::string subject = "plan " + plan.name;
  seconds whole{};
  for (const auto& segment : plan.segments) whole += segment.end - segment.start;
  gate_.check_size(subject, plan.nodes + plan.spares, whole);
  if (gate_.needs_approval(plan.nodes + plan.spares, plan.price.cents, uid, plan.account))
    refuse(403, "{}: would become so large that it needs approval; ask an operator to extend it", subject);
}

// A plan may have come from another owner, and accounts lose members.
void Book::check_may_pay(const Plan& plan, std::uint32_t uid) const {
  gate_.check_booker("plan " + plan.name, uid, plan.account);
  accounts_.choose("plan " + plan.name, plan.account, uid, uid);
}

Plan Book::changeable_plan(const std::string& name, std::uint32_t uid, const std::string& deed) const {
  Plan plan = own_plan(name, uid, deed);
  if (plan.phase != Phase::kBooked)
    refuse(409, "plan {}: waits for approval; it can be changed once it has it", name);
  return plan;
}

ExtensionOffers Book::offer_extension(const std::string& name, const ExtendRequest& request,
                                      std::uint32_t uid) {
  const Plan plan = changeable_plan(name, uid, "extend");
  check_may_pay(plan, uid);
  auto found = extension_of(plan, request);
  ExtensionOffers answer{{}, std::move(found.reason), std::move(found.remedy)};
  for (auto& proposal : found.proposals) {
    check_extension(proposal.wanted, uid);
    accounts_.check_budget("plan " + name, plan.account, proposal.adds_cents, plan.segments.front().start);
    const auto id = proposals_.put(proposal, now(), uid);
    answer.offers.emplace_back(id, std::move(proposal));
  }
  return answer;
}

Plan Book::extend(const std::string& name, const std::string& offer, std::uint32_t uid) {
  const std::lock_guard lock(change_);
  Plan plan = changeable_plan(name, uid, "extend");
  check_may_pay(plan, uid);
  const auto proposal = proposals_.find(offer, now());
  const Plan& wanted = proposal.wanted;
  if (wanted.id != plan.id) refuse(409, "offer {}: is none for plan {}", offer, name);
  if (!same_shape(plan, proposal.base)) {
    refuse(409, "offer {}: plan {} has changed since; ask again with 'stint plan extend {}'", offer, name,
           name);
  }
  check_extension(wanted, uid);
  check_budget(plan, proposal.adds_cents, uid);
  const auto taken = taken_for(plan, wanted, capacity_.planner(plan.kind), now());
  if (!taken.empty()) {
    refuse(409, "offer {}: {} {} no longer free; ask again with 'stint plan extend {}'", offer,
           format_host_list({taken.begin(), taken.end()}), taken.size() == 1 ? "is" : "are", name);
  }
  Plan changed = plan;
  changed.nodes = wanted.nodes;
  changed.spares = wanted.spares;
  changed.segments = wanted.segments;
  changed.switches = wanted.switches;
  changed.price = settled(plan.price, plan.windows(), now());
  changed.price.cents += proposal.adds_cents;
  changed.price.breakdown +=
      fmt::format("; {} more for an extension to {}", amount_text(proposal.adds_cents), size_text(changed));
  return commit(plan, changed, uid, "extended",
                fmt::format("{} -> {}, {} {} more", size_text(plan), size_text(changed),
                            amount_text(proposal.adds_cents), plan.price.currency));
}

Plan Book::shrink(const std::string& name, const ShrinkRequest& request, std::uint32_t uid) {
  const std::lock_guard lock(change_);
  const Plan plan = changeable_plan(name, uid, "shrink");
  const auto jobs = keeper_.jobs_in(plan);
  auto proposal = as_conflict([&] {
    if (request.until) return shorten(plan, *request.until, pricing(plan), now());
    const int nodes = request.nodes.value_or(plan.nodes);
    const int spares = request.spares.value_or(plan.spares);
    if (nodes > plan.nodes || spares > plan.spares || nodes + spares == plan.nodes + plan.spares) {
      refuse(409, "plan {}: has {} and {}, {} and {} are no fewer; 'stint plan extend' adds some", name,
             counted(plan.nodes, "node"), counted(plan.spares, "spare"), nodes, spares);
    }
    std::set<std::string> busy;
    for (const auto& job : jobs) busy.insert(job.nodes.begin(), job.nodes.end());
    return narrow(plan, nodes, spares, busy, capacity_.planner(plan.kind), pricing(plan), now());
  });
  keep_what_is_not_refunded(settings_.money.refund, plan, now(), "shrinking to " + size_text(proposal.wanted),
                            proposal);
  if (request.quote) return proposal.wanted;
  for (const auto& segment : plan.segments) {
    const bool stays = std::any_of(proposal.wanted.segments.begin(), proposal.wanted.segments.end(),
                                   [&](const Segment& s) { return s.reservation == segment.reservation; });
    for (const auto& job : jobs) {
      if (!stays && job.reservation == segment.reservation)
        refuse(409, "plan {}: job {} waits for {}, which would go; end the job first", name, job.id,
               segment.reservation);
    }
  }
  return commit(plan, proposal.wanted, uid, "shrunk",
                fmt::format("{} -> {}, {} {} less", size_text(plan), size_text(proposal.wanted),
                            amount_text(-proposal.adds_cents), plan.price.currency));
}

Plan Book::share(const std::string& name, const ShareRequest& request, std::uint32_t uid) {
  const std::lock_guard lock(change_);
  const Plan plan = changeable_plan(name, uid, "share");
  Plan wanted = plan;
  for (const auto& user : request.add) add_user(wanted, user);
  for (const auto& user : request.remove) remove_user(wanted, user);
  accounts_.check_shared("plan " + name, request.add_accounts, uid);
  for (const auto& account : request.add_accounts) add_account(wanted, account);
  for (const auto& account : request.remove_accounts) remove_account(wanted, account);
  set_members(wanted, accounts_.members_of(wanted.accounts));
  keep_users_with_running_jobs(plan, wanted, keeper_.jobs_in(plan));
  return commit(plan, wanted, uid, "shared", people_text(plan) + " -> " + people_text(wanted));
}

Plan Book::transfer(const std::string& name, const std::string& owner, std::uint32_t uid) {
  const std::lock_guard lock(change_);
  const Plan plan = changeable_plan(name, uid, "transfer");
  Plan wanted = plan;
  add_user(wanted, owner);
  wanted.owner = owner;
  wanted.owner_uid = *uid_of_user(owner);
  check_count("plan " + name, owner, wanted.owner_uid, uid);
  return commit(plan, wanted, uid, "transferred", fmt::format("{} -> {}", plan.owner, owner));
}

Plan Book::tag(const std::string& name, const TagRequest& request, std::uint32_t uid) {
  const std::lock_guard lock(change_);
  Plan plan = owned_plan(name, uid, "tag");
  check_settled(plan);
  const Tags before = plan.tags;
  for (const auto& key : request.remove) {
    if (plan.tags.erase(key) == 0) refuse(409, "plan {}: has no tag '{}'", name, key);
  }
  for (const auto& [key, value] : request.set) plan.tags[key] = value;
  as_conflict([&] { check_tags("plan " + name, plan.tags); });
  if (plan.tags == before) return plan;
  // Tags cost their owner nothing, and each change stays in the ledger.
  if (!cluster_.is_operator(uid) && ledger_.history(plan.id).size() >= kMostHistory)
    refuse(429, "plan {}: was changed {} times; ask an operator to tag it", name, kMostHistory);
  ledger_.set_tags(plan, {now_(), user_of_uid(uid), "tagged", deed_text(request)});
  return plan;
}

void Book::release_idle(const std::vector<Plan>& plans, const std::vector<ClusterJob>& jobs) {
  for (const auto& row : idle_.look(plans, jobs, now())) {
    const auto plan =
        std::find_if(plans.begin(), plans.end(), [&](const Plan& p) { return p.id == row.plan; });
    try {
      if (!ledger_.open_change(row.plan)) release(*plan, row);
    } catch (const Refusal& refusal) {  // a job has come in the same moment
      spdlog::warn("{}", refusal.what());
      idle_.forget(row.plan);
    }
  }
}

void Book::release(Plan plan, const IdleRow& row) {
  const auto& segment = plan.segments[row.k];
  auto proposal = cut_short(plan, row.k, pricing(plan), now());
  keep_what_is_not_refunded(settings_.money.refund, plan, now(), "the rest of " + segment.reservation,
                            proposal);
  const auto detail = fmt::format("no job was in {} since {}; its rest until {} is given back, {} {} less",
                                  segment.reservation, format_time(row.since), format_time(segment.end),
                                  amount_text(-proposal.adds_cents), plan.price.currency);
  keeper_.change(plan, {proposal.wanted, {now_(), "stintd", "released", detail}});
  spdlog::info("plan {}: released: {}", plan.name, detail);
}

Plan Book::commit(Plan plan, const Plan& wanted, std::uint32_t uid, const std::string& action,
                  const std::string& detail) {
  keeper_.change(plan, {wanted, {now_(), user_of_uid(uid), action, detail}});
  publish();
  spdlog::info("plan {}: {} by {}: {}", plan.name, action, user_of_uid(uid), detail);
  return plan;
}

}  // namespace stint::reservations
