// SPDX-License-Identifier: Apache-2.0
// Changes of plans that are booked: extend, shrink, share, transfer.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/text.h"
#include "reservations/book.h"
#include "reservations/users.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr seconds kLookAhead = std::chrono::weeks{8};  // for another segment

std::uint32_t known_user(const Plan& plan, const std::string& user) {
  const auto uid = uid_of_user(user);
  if (!uid) refuse(400, "plan {}: there is no user '{}'", plan.name, user);
  return *uid;
}

void add_user(Plan& plan, const std::string& user) {
  const auto uid = known_user(plan, user);
  if (std::find(plan.uids.begin(), plan.uids.end(), uid) != plan.uids.end()) return;
  plan.users.push_back(user);
  plan.uids.push_back(uid);
}

void remove_user(Plan& plan, const std::string& user) {
  const auto found = std::find(plan.users.begin(), plan.users.end(), user);
  if (found == plan.users.end()) refuse(409, "plan {}: {} is none of its users", plan.name, user);
  if (user == plan.owner) {
    refuse(409, "plan {}: {} owns it; give it to another user first with 'stint plan transfer {} USER'",
           plan.name, user, plan.name);
  }
  plan.uids.erase(plan.uids.begin() + (found - plan.users.begin()));
  plan.users.erase(found);
}

// What runs would run on, and nobody would lead it through the plan. What waits is the shepherd's.
void keep_users_with_running_jobs(const Plan& plan, const Plan& wanted, const std::vector<ClusterJob>& jobs) {
  for (const auto& job : jobs) {
    if (job.state == JobState::kPending) continue;
    if (std::find(wanted.uids.begin(), wanted.uids.end(), job.uid) != wanted.uids.end()) continue;
    refuse(409, "plan {}: job {} of {} runs in it; once it has ended {} can be taken off", plan.name, job.id,
           user_of_uid(job.uid), user_of_uid(job.uid));
  }
}

bool same_shape(const Plan& a, const Plan& b) {
  return a.nodes == b.nodes && a.spares == b.spares && a.segments == b.segments;
}

std::string size_text(const Plan& plan) {
  return fmt::format("{}+{} nodes until {}", plan.nodes, plan.spares, format_time(plan.segments.back().end));
}

// What is given up comes back by the refund rule, as when all of it is cancelled.
void keep_what_is_not_refunded(const RefundRule& rule, const Plan& plan, sys_seconds now,
                               Proposal& proposal) {
  const std::int64_t less = -proposal.adds_cents;
  const std::int64_t kept = less - less * rule.percent_at(plan.segments.front().start - now) / 100;
  proposal.wanted.price.cents += kept;
  proposal.wanted.price.kept_cents += kept;
  proposal.adds_cents += kept;
  if (less > 0)
    proposal.wanted.price.breakdown +=
        fmt::format("; {} less for shrinking to {}", amount_text(less - kept), size_text(proposal.wanted));
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
  const Planner planner = capacity_.planner(plan.kind);
  if (request.nodes || request.spares) {
    const int nodes = request.nodes.value_or(plan.nodes);
    const int spares = request.spares.value_or(plan.spares);
    if (nodes < plan.nodes || spares < plan.spares || nodes + spares == plan.nodes + plan.spares) {
      refuse(409,
             "plan {}: has {} nodes and {} spares, {} and {} are no more; 'stint plan shrink' takes less",
             plan.name, plan.nodes, plan.spares, nodes, spares);
    }
    return widen(plan, nodes, spares, planner, pricing(plan), now());
  }
  const sys_seconds end = plan.segments.back().end;
  if (request.until && *request.until <= end)
    refuse(409, "plan {}: ends {} anyway; 'stint plan shrink' makes it shorter", plan.name, format_time(end));
  const seconds more = request.until ? *request.until - end : request.duration;
  const sys_seconds latest = std::min(end + more + kLookAhead, now() + settings_.policy.max_lead + more);
  return lengthen(plan, more, planner, pricing(plan), now(), request.until.value_or(latest));
}

// An extension is held to the policy like a booking of the whole.
void Book::check_extension(const Plan& plan, std::uint32_t uid) const {
  const std::string subject = "plan " + plan.name;
  seconds whole{};
  for (const auto& segment : plan.segments) whole += segment.end - segment.start;
  gate_.check_size(subject, plan.nodes + plan.spares, whole);
  if (gate_.needs_approval(plan.nodes + plan.spares, plan.price.cents, uid))
    refuse(403, "{}: would become so large that it needs approval; ask an approver to extend it", subject);
}

Plan Book::changeable_plan(const std::string& name, std::uint32_t uid, const std::string& deed) const {
  Plan plan = own_plan(name, uid, deed);
  if (plan.phase != Phase::kBooked)
    refuse(409, "plan {}: waits for approval; it can be changed once it has it", name);
  return plan;
}

ExtensionOffers Book::offer_extension(const std::string& name, const ExtendRequest& request,
                                      std::uint32_t uid) {
  gate_.check_booker("plan " + name, uid);
  const Plan plan = changeable_plan(name, uid, "extend");
  auto found = extension_of(plan, request);
  ExtensionOffers answer{{}, std::move(found.reason), std::move(found.remedy)};
  for (auto& proposal : found.proposals) {
    check_extension(proposal.wanted, uid);
    accounts_.check_budget("plan " + name, plan.account, proposal.adds_cents, plan.segments.front().start);
    const auto id = proposals_.put(proposal, now());
    answer.offers.emplace_back(id, std::move(proposal));
  }
  return answer;
}

Plan Book::extend(const std::string& name, const std::string& offer, std::uint32_t uid) {
  const std::lock_guard lock(change_);
  gate_.check_booker("plan " + name, uid);
  Plan plan = changeable_plan(name, uid, "extend");
  const auto proposal = proposals_.find(offer, now());
  const Plan& wanted = proposal.wanted;
  if (wanted.id != plan.id) refuse(409, "offer {}: is none for plan {}", offer, name);
  if (!same_shape(plan, proposal.base)) {
    refuse(409, "offer {}: plan {} has changed since; ask again with 'stint plan extend {}'", offer, name,
           name);
  }
  check_extension(wanted, uid);
  accounts_.check_budget("plan " + name, plan.account, proposal.adds_cents, plan.segments.front().start);
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
      refuse(409,
             "plan {}: has {} nodes and {} spares, {} and {} are no fewer; 'stint plan extend' adds some",
             name, plan.nodes, plan.spares, nodes, spares);
    }
    std::set<std::string> busy;
    for (const auto& job : jobs) busy.insert(job.nodes.begin(), job.nodes.end());
    return narrow(plan, nodes, spares, busy, capacity_.planner(plan.kind), pricing(plan), now());
  });
  keep_what_is_not_refunded(settings_.money.refund, plan, now(), proposal);
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
  keep_users_with_running_jobs(plan, wanted, keeper_.jobs_in(plan));
  return commit(plan, wanted, uid, "shared",
                fmt::format("users {} -> {}", fmt::join(plan.users, ","), fmt::join(wanted.users, ",")));
}

Plan Book::transfer(const std::string& name, const std::string& owner, std::uint32_t uid) {
  const std::lock_guard lock(change_);
  const Plan plan = changeable_plan(name, uid, "transfer");
  Plan wanted = plan;
  add_user(wanted, owner);
  wanted.owner = owner;
  wanted.owner_uid = known_user(plan, owner);
  return commit(plan, wanted, uid, "transferred", fmt::format("{} -> {}", plan.owner, owner));
}

Plan Book::commit(Plan plan, const Plan& wanted, std::uint32_t uid, const std::string& action,
                  const std::string& detail) {
  keeper_.change(plan, {wanted, {now_(), user_of_uid(uid), action, detail}});
  publish();
  spdlog::info("plan {}: {} by {}: {}", plan.name, action, user_of_uid(uid), detail);
  return plan;
}

}  // namespace stint::reservations
