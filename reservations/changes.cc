// SPDX-License-Identifier: Apache-2.0
#include "reservations/changes.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/contract.h"
#include "base/error.h"
#include "base/text.h"
#include "reservations/counted.h"
#include "reservations/refund.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr std::size_t kMostProposals = 3;

std::size_t all_nodes(const Plan& plan) {
  return static_cast<std::size_t>(plan.nodes) + static_cast<std::size_t>(plan.spares);
}

Window rest_of(const Segment& segment, sys_seconds now) {
  return {std::max(segment.start, now), segment.end};
}

// What is still to come of a plan, at today's rates.
std::int64_t worth(const Plan& plan, const Pricing& pricing, sys_seconds now) {
  std::vector<Window> windows;
  for (const auto& segment : plan.segments) {
    if (segment.end > now) windows.push_back(rest_of(segment, now));
  }
  return windows.empty() ? 0 : pricing(static_cast<std::size_t>(plan.nodes), windows).cents;
}

Proposal dearer(const Plan& plan, Plan wanted, const Pricing& pricing, sys_seconds now, std::string why) {
  // A discount for length may make the whole cheaper than its part.
  const auto adds = std::max<std::int64_t>(0, worth(wanted, pricing, now) - worth(plan, pricing, now));
  wanted.price = settled(plan.price, plan.windows(), now);
  wanted.price.cents += adds;
  return {plan, std::move(wanted), adds, std::move(why)};
}

// Of what was paid for the time to come, not of what it would cost today.
Proposal cheaper(const Plan& plan, Plan wanted, const Pricing& pricing, sys_seconds now) {
  wanted.price = settled(plan.price, plan.windows(), now);
  const auto before = worth(plan, pricing, now);
  const auto after = std::clamp<std::int64_t>(worth(wanted, pricing, now), 0, before);
  const auto rest = wanted.price.cents - wanted.price.kept_cents;
  const auto less =
      before > 0 ? static_cast<std::int64_t>(static_cast<__int128>(rest) * (before - after) / before) : 0;
  wanted.price.cents -= less;
  return {plan, std::move(wanted), -less, {}};
}

// An admin or a lost node may have left a segment with fewer nodes than the plan has.
bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool free_in(const std::vector<std::string>& nodes, const Planner& planner, Window window) {
  const auto free = planner.available_during(window);
  const std::set<std::string> there(free.begin(), free.end());
  return std::all_of(nodes.begin(), nodes.end(),
                     [&](const std::string& node) { return there.contains(node); });
}

void offer_another_segment(const Plan& plan, const OfferQuery& query, const Planner& planner,
                           const Pricing& pricing, sys_seconds now, ProposalAnswer& answer) {
  const Tariff none = [](auto&&...) { return Price{}; };  // the whole plan is priced
  auto found = find_offers(planner, none, query);
  for (const auto& offer : found.offers) {
    const auto& segment = offer.segments.front();
    const auto& last = plan.segments.back();
    if (segment.window.start <= last.end && !answer.proposals.empty())
      continue;  // on the same nodes is better
    Plan wanted = plan;
    wanted.segments.push_back({contract::reservation_name(plan.name, static_cast<int>(plan.segments.size())),
                               segment.window.start, segment.window.end, segment.nodes});
    answer.proposals.push_back(dearer(plan, std::move(wanted), pricing, now,
                                      segment.window.start - last.end < seconds{60}
                                          ? "at once on other nodes; jobs move there by a requeue"
                                          : "another segment; jobs wait for it"));
  }
  answer.reason = std::move(found.reason);
  answer.remedy = std::move(found.remedy);
}

}  // namespace

ProposalAnswer lengthen(const Plan& plan, seconds duration, const Planner& planner, const Pricing& pricing,
                        const Room& room) {
  const auto now = room.now;
  ProposalAnswer answer;
  const auto& last = plan.segments.back();
  const Window next{std::max(last.end, now), last.end + duration};
  if (next.start >= room.earliest && next.end <= room.before && free_in(last.nodes, planner, next)) {
    Plan wanted = plan;
    wanted.segments.back().end = next.end;
    answer.proposals.push_back(
        dearer(plan, std::move(wanted), pricing, now, "the same nodes; running jobs go on"));
  }
  OfferQuery query;
  query.nodes = static_cast<std::size_t>(plan.nodes);
  query.spares = static_cast<std::size_t>(plan.spares);
  query.duration = duration;
  query.after = std::max(next.start, room.earliest);
  query.before = room.before;
  query.later_end = room.later_end;
  query.latest = room.latest;
  query.split.clear();
  query.shortage = room.shortage;
  query.min_segment = duration;
  query.most = kMostProposals - answer.proposals.size();
  offer_another_segment(plan, query, planner, pricing, now, answer);
  return answer;
}

ProposalAnswer widen(const Plan& plan, int nodes, int spares, const Planner& planner, const Pricing& pricing,
                     sys_seconds now) {
  ProposalAnswer answer;
  Plan wanted = plan;
  wanted.nodes = nodes;
  wanted.spares = spares;
  for (auto& segment : wanted.segments) {
    if (segment.end <= now) continue;
    const std::size_t needed = all_nodes(wanted) - std::min(all_nodes(wanted), segment.nodes.size());
    const auto more = planner.nearest(segment.nodes, needed, rest_of(segment, now));
    if (more.size() < needed) {
      answer.reason = fmt::format("{} more would be needed until {}, {} of the kind are free all that time",
                                  counted(needed, "node"), format_time(segment.end), more.size());
      answer.remedy = more.empty() ? std::string("give it more time instead, or book a second plan")
                                   : fmt::format("take {} more", counted(more.size(), "node"));
      return answer;
    }
    segment.nodes.insert(segment.nodes.end(), more.begin(), more.end());
    wanted.switches = std::max(wanted.switches, static_cast<int>(planner.leaf_switches(segment.nodes)));
  }
  answer.proposals.push_back(
      dearer(plan, std::move(wanted), pricing, now, "the nearest free nodes; running jobs go on"));
  return answer;
}

Proposal shorten(const Plan& plan, sys_seconds until, const Pricing& pricing, sys_seconds now) {
  if (until >= plan.segments.back().end)
    fail("plan {}: ends {} anyway; 'stint plan extend' makes it longer", plan.name,
         format_time(plan.segments.back().end));
  Plan wanted = plan;
  std::erase_if(wanted.segments, [&](const Segment& segment) { return segment.start >= until; });
  if (until <= now || wanted.segments.empty())
    fail("plan {}: nothing of it would be left; 'stint plan cancel {}' ends it", plan.name, plan.name);
  wanted.segments.back().end = std::min(wanted.segments.back().end, until);
  return cheaper(plan, std::move(wanted), pricing, now);
}

Proposal cut_short(const Plan& plan, std::size_t k, const Pricing& pricing, sys_seconds now) {
  Plan wanted = plan;
  wanted.segments[k].end = now;
  wanted.segments[k].released = true;
  return cheaper(plan, std::move(wanted), pricing, now);
}

Proposal narrow(const Plan& plan, int nodes, int spares, const std::set<std::string>& busy,
                const Planner& planner, const Pricing& pricing, sys_seconds now) {
  Plan wanted = plan;
  wanted.nodes = nodes;
  wanted.spares = spares;
  for (auto& segment : wanted.segments) {
    if (segment.end <= now || segment.nodes.size() <= all_nodes(wanted)) continue;
    std::set<std::string> must;
    if (segment.start <= now) {
      std::copy_if(busy.begin(), busy.end(), std::inserter(must, must.end()),
                   [&](const std::string& node) { return has(segment.nodes, node); });
    }
    if (must.size() > all_nodes(wanted)) {
      fail("plan {}: its jobs run on {} ({}); end some first, or keep so many", plan.name,
           counted(must.size(), "node"), format_host_list({must.begin(), must.end()}));
    }
    segment.nodes = planner.keep(segment.nodes, must, all_nodes(wanted));
  }
  return cheaper(plan, std::move(wanted), pricing, now);
}

std::set<std::string> taken_for(const Plan& plan, const Plan& wanted, const Planner& planner,
                                sys_seconds now) {
  std::set<std::string> taken;
  const auto need = [&](const std::vector<std::string>& nodes, Window window) {
    if (window.end <= window.start) return;
    const auto free = planner.available_during(window);
    const std::set<std::string> there(free.begin(), free.end());
    std::copy_if(nodes.begin(), nodes.end(), std::inserter(taken, taken.end()),
                 [&](const std::string& node) { return !there.contains(node); });
  };
  for (std::size_t k = 0; k < wanted.segments.size(); ++k) {
    const auto& segment = wanted.segments[k];
    if (segment.end <= now) continue;
    if (k >= plan.segments.size()) {
      need(segment.nodes, rest_of(segment, now));
      continue;
    }
    const auto& old = plan.segments[k];
    std::vector<std::string> added;
    std::vector<std::string> kept;
    for (const auto& node : segment.nodes) (has(old.nodes, node) ? kept : added).push_back(node);
    need(added, rest_of(segment, now));
    need(kept, {std::max(old.end, now), segment.end});
  }
  return taken;
}

}  // namespace stint::reservations
