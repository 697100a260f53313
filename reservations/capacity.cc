// SPDX-License-Identifier: Apache-2.0
#include "reservations/capacity.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <tuple>

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr sys_seconds kForEver{seconds{1LL << 36}};

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool plainer(const ClusterNode* a, const ClusterNode* b) {
  return std::tuple(a->gpus, a->features.size()) < std::tuple(b->gpus, b->features.size());
}

}  // namespace

Capacity::Capacity(Cluster& cluster, const Ledger& ledger, std::vector<std::string> allowed_features, Now now)
    : cluster_(cluster),
      ledger_(ledger),
      allowed_features_(std::move(allowed_features)),
      now_(std::move(now)) {}

bool Capacity::is_bookable(const ClusterNode& node) const {
  return allowed_features_.empty() ||
         std::any_of(allowed_features_.begin(), allowed_features_.end(),
                     [&](const std::string& feature) { return contains(node.features, feature); });
}

std::vector<ClusterNode> Capacity::keep_out(std::vector<ClusterNode>& nodes) const {
  std::vector<ClusterNode> kept_out;
  std::copy_if(nodes.begin(), nodes.end(), std::back_inserter(kept_out),
               [&](const ClusterNode& node) { return !is_bookable(node); });
  std::erase_if(nodes, [&](const ClusterNode& node) { return !is_bookable(node); });
  return kept_out;
}

Scene Capacity::look() const {
  auto nodes = cluster_.nodes();
  auto kept_out = keep_out(nodes);
  return {std::move(nodes), std::move(kept_out), cluster_.topology(), cluster_.reservations(),
          cluster_.jobs()};
}

Planner Capacity::planner(const NodeKind& kind, const Scene& scene) const {
  const sys_seconds now{seconds{static_cast<std::int64_t>(now_())}};
  std::map<std::string, std::vector<std::string>> switches;
  for (const auto& place : scene.topology.places) switches[place.node] = place.switches;
  std::vector<PlannerNode> nodes;
  std::vector<std::string> unusable;
  std::vector<const ClusterNode*> suitable;
  for (const auto& node : scene.nodes) {
    if (qualifies(node, kind)) suitable.push_back(&node);
  }
  std::stable_sort(suitable.begin(), suitable.end(), plainer);
  for (const auto* node : suitable) {
    nodes.push_back({node->name, switches[node->name]});
    if (!node->sound()) unusable.push_back(node->name);  // maintenance ends with its reservation
  }
  Planner planner(nodes);
  planner.add_span(unusable, {sys_seconds{}, kForEver});
  for (const auto& reservation : scene.reservations) {
    planner.add_span(reservation.nodes, {reservation.start, reservation.end});
  }
  for (const auto& plan : ledger_.plans_since(now)) {
    if (!plan.live_at(now)) continue;
    for (const auto& segment : plan.segments) planner.add_span(segment.nodes, {segment.start, segment.end});
  }
  for (const auto& job : scene.jobs) {
    if (job.state == JobState::kRunning)
      planner.add_span(job.nodes, {sys_seconds{}, job.end.value_or(kForEver)});
  }
  return planner;
}

NodeClass Capacity::node_class(const NodeKind& kind) const {
  auto nodes = cluster_.nodes();
  keep_out(nodes);
  return node_class(kind, nodes);
}

NodeClass Capacity::node_class(const NodeKind& kind, const std::vector<ClusterNode>& nodes) {
  NodeClass common{kind.partition, kind.features, kind.gpus};
  bool first = true;
  for (const auto& node : nodes) {
    if (!qualifies(node, kind)) continue;
    if (first) {
      common.features = node.features;
      common.gpus = node.gpus;
    }
    first = false;
    std::erase_if(common.features,
                  [&](const std::string& feature) { return !contains(node.features, feature); });
    common.gpus = std::min(common.gpus, node.gpus);
  }
  return common;
}

std::vector<int> Capacity::gpu_counts(const NodeKind& kind, const Scene& scene) {
  std::set<int, std::greater<>> counts;
  for (const auto& node : scene.nodes) {
    if (node.gpus > 0 && qualifies(node, kind)) counts.insert(node.gpus);
  }
  return {counts.begin(), counts.end()};
}

bool Capacity::has_gpus(const Scene& scene) {
  const auto some = [](const ClusterNode& node) { return node.gpus > 0; };
  return std::any_of(scene.nodes.begin(), scene.nodes.end(), some) ||
         std::any_of(scene.kept_out.begin(), scene.kept_out.end(), some);
}

std::size_t Capacity::waiting_jobs(const std::string& partition, const Scene& scene) {
  const auto& jobs = scene.jobs;
  return static_cast<std::size_t>(std::count_if(jobs.begin(), jobs.end(), [&](const ClusterJob& job) {
    return job.state == JobState::kPending && job.partition == partition && job.reservation.empty();
  }));
}

}  // namespace stint::reservations
