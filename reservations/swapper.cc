// SPDX-License-Identifier: Apache-2.0
#include "reservations/swapper.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/log.h"
#include "base/text.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr seconds kReplacedWithin{10};
constexpr char kLost[] = "node lost";  // in a plan's history

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Window rest_of(const Segment& segment, sys_seconds now) {
  return {std::max(segment.start, now), segment.end};
}

std::vector<ClusterJob> jobs_in(const std::vector<ClusterJob>& jobs, const Segment& segment) {
  std::vector<ClusterJob> there;
  std::copy_if(jobs.begin(), jobs.end(), std::back_inserter(there),
               [&](const ClusterJob& job) { return job.reservation == segment.reservation; });
  return there;
}

std::string claim_text(const Claim& claim) {
  return fmt::format("reservation {} takes it from {} to {}", claim.reservation,
                     format_time(claim.window.start), format_time(claim.window.end));
}

}  // namespace

ClusterReservation to_reservation(const Plan& plan, const Segment& segment) {
  return {segment.reservation, segment.start,    segment.end,
          segment.nodes,       plan.everybody(), plan.kind.partition};
}

Swapper::Swapper(Cluster& cluster, Ledger& ledger, Metrics& metrics, const Capacity& capacity, Now now)
    : cluster_(cluster), ledger_(ledger), metrics_(metrics), capacity_(capacity), now_(std::move(now)) {}

sys_seconds Swapper::now() const {
  return sys_seconds{seconds{static_cast<std::int64_t>(now_())}};
}

void Swapper::swap(const std::vector<Plan*>& plans, const std::vector<ClusterNode>& nodes,
                   const std::vector<ClusterReservation>& reservations) {
  const auto of_nodes = by_node(reservations);
  for (Plan* plan : plans) {
    for (std::size_t k = 0; k < plan->segments.size(); ++k) {
      if (plan->segments[k].end <= now()) continue;
      swap_dead(*plan, k, nodes);
      swap_claimed(*plan, k, of_nodes);
    }
  }
  std::erase_if(losses_, [&](const auto& loss) {
    return std::none_of(plans.begin(), plans.end(),
                        [&](const Plan* plan) { return plan->id == loss.first.first; });
  });
  suspects_.clear();
  for (const auto& node : nodes) {
    if (!node.usable()) suspects_.insert(node.name);
  }
}

void Swapper::swap_dead(Plan& plan, std::size_t k, const std::vector<ClusterNode>& nodes) {
  const auto members = plan.segments[k].nodes;
  for (const auto& node : nodes) {
    // A job may still run on a drained node; a node that is only rebooting gets a second look. No job of the
    // plan runs on a node that we drained before its segment.
    const bool by_us = node.reason.starts_with("stint:");
    const bool before = now() < plan.segments[k].start;
    const bool gone = node.down || (node.drained && (node.idle || (by_us && before)));
    const bool certain = by_us || suspects_.contains(node.name);
    if (gone && certain && contains(members, node.name) && !swap_node(plan, k, node.name, ""))
      note_loss(plan, node);
    if (!losses_.empty() && node.usable()) note_return(plan, node);
  }
}

// Most are replaced by the next round or the one after.
void Swapper::note_loss(const Plan& plan, const ClusterNode& node) {
  auto& loss = losses_.try_emplace({plan.id, node.name}, Loss{now(), false}).first->second;
  if (loss.told || now() < loss.since + kReplacedWithin) return;
  loss.told = true;
  const auto history = ledger_.history(plan.id);
  const auto last = std::find_if(history.rbegin(), history.rend(), [&](const HistoryEntry& entry) {
    return entry.action.starts_with("node ") && entry.detail.starts_with(node.name + ": ");
  });
  if (last != history.rend() && last->action == kLost) return;  // before this stintd began
  const auto detail = fmt::format("{}: {}; no node of its kind is free", node.name,
                                  node.reason.empty() ? "Slurm has it down" : node.reason);
  ledger_.add_history(plan.id, {now_(), "stintd", kLost, detail});
  spdlog::warn("plan {}: {}: {}", plan.name, kLost, detail);
}

void Swapper::note_return(const Plan& plan, const ClusterNode& node) {
  const auto loss = losses_.find({plan.id, node.name});
  if (loss == losses_.end()) return;
  const bool told = loss->second.told;
  losses_.erase(loss);
  if (!told) return;
  ledger_.add_history(plan.id, {now_(), "stintd", "node back", node.name + ": Slurm uses it again"});
  spdlog::info("plan {}: node {} is back", plan.name, node.name);
}

// A job that runs on the node runs on; Slurm starts none there that would reach into the other reservation.
void Swapper::swap_claimed(Plan& plan, std::size_t k, const ReservationsOfNodes& reservations) {
  const auto claims = claims_on(plan.segments[k], reservations, now());
  if (claims.empty()) return;
  const auto jobs = jobs_in(cluster_.jobs(), plan.segments[k]);
  std::map<std::string, std::vector<Claim>> stuck;  // by reservation
  for (const auto& claim : claims) {
    if (!contains(plan.segments[k].nodes, claim.node)) continue;  // swapped for an earlier claim
    const bool in_use = std::any_of(jobs.begin(), jobs.end(),
                                    [&](const ClusterJob& job) { return contains(job.nodes, claim.node); });
    if (in_use || !swap_node(plan, k, claim.node, ": " + claim_text(claim)))
      stuck[claim.reservation].push_back(claim);
  }
  for (const auto& [by, there] : stuck) {
    std::vector<std::string> nodes;
    for (const auto& claim : there) nodes.push_back(claim.node);
    note_once(plan, "nodes claimed",
              fmt::format("{} of {}: {}; jobs end before it and go on after it", format_host_list(nodes),
                          plan.segments[k].reservation, claim_text(there.front())));
  }
}

bool Swapper::swap_node(Plan& plan, std::size_t k, const std::string& node, const std::string& why) {
  auto segment = plan.segments[k];
  const auto substitutes = capacity_.planner(plan.kind).nearest({node}, 1, rest_of(segment, now()));
  if (substitutes.empty()) return false;
  const std::string& substitute = substitutes.front();
  std::replace(segment.nodes.begin(), segment.nodes.end(), node, substitute);
  try {
    cluster_.update_reservation(to_reservation(plan, plan.segments[k]), to_reservation(plan, segment));
  } catch (const ClusterError& error) {
    metrics_.count_cluster_error();
    spdlog::warn("plan {}: node {} cannot be replaced by {} yet: {}", plan.name, node, substitute,
                 error.what());
    return false;
  }
  const auto detail = fmt::format("{} is replaced by {}{}", node, substitute, why);
  ledger_.set_segment(plan.id, k, segment, {now_(), "stintd", "node swapped", detail});
  plan.segments[k] = segment;
  losses_.erase({plan.id, node});
  metrics_.count_swap();
  spdlog::info("plan {}: node {}", plan.name, detail);
  for (const auto& job : jobs_in(cluster_.jobs(), segment)) {
    ledger_.add_event({now_(), job.id, "node_swapped", node,
                       fmt::format("replaced by {} in plan {}", substitute, plan.name)});
  }
  return true;
}

void Swapper::note_once(const Plan& plan, const std::string& action, const std::string& detail) {
  const auto history = ledger_.history(plan.id);
  const bool known = std::any_of(history.begin(), history.end(), [&](const HistoryEntry& entry) {
    return entry.action == action && entry.detail == detail;
  });
  if (known) return;
  ledger_.add_history(plan.id, {now_(), "stintd", action, detail});
  spdlog::warn("plan {}: {}: {}", plan.name, action, detail);
}

}  // namespace stint::reservations
