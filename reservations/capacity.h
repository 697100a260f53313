// SPDX-License-Identifier: Apache-2.0
// What the cluster can still promise: the planner over its nodes, with all that takes them. Safe from several
// threads.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "reservations/cluster.h"
#include "reservations/ledger.h"
#include "reservations/planner.h"
#include "reservations/tariff.h"

namespace stint::reservations {

// ", 3 more are not for plans ([policy] allowed_features)"; empty for none.
std::string kept_out_text(std::size_t nodes);

// What Slurm has at one time: for several questions about the same.
struct Scene {
  std::vector<ClusterNode> nodes;  // that plans may have
  ClusterTopology topology;
  std::vector<ClusterReservation> reservations;
  std::vector<ClusterJob> jobs;
};

class Capacity {
 public:
  using Now = std::function<double()>;  // seconds since the epoch

  // Plans may have nodes with one of the allowed features; none: all nodes.
  Capacity(Cluster& cluster, const Ledger& ledger, std::vector<std::string> allowed_features, Now now);

  // Taken are: nodes by their own state, reservations of anybody, live plans (their reservation may still be
  // on its way), and running jobs until their time limit. Of nodes that are as near, the plainest come first:
  // GPUs and features are for those who ask for them. Throws ClusterError.
  Planner planner(const NodeKind& kind) const { return planner(kind, look()); }
  Planner planner(const NodeKind& kind, const Scene& scene) const;
  Scene look() const;
  // What all nodes of this kind have in common, by which they are priced.
  NodeClass node_class(const NodeKind& kind) const { return node_class(kind, bookable_nodes()); }
  static NodeClass node_class(const NodeKind& kind, const std::vector<ClusterNode>& nodes);
  // How many nodes of this kind are no plan's for want of an allowed feature.
  std::size_t kept_out(const NodeKind& kind) const;
  // How many a node of this kind may have, the most first; those without are not among them.
  static std::vector<int> gpu_counts(const NodeKind& kind, const Scene& scene);
  // Jobs that wait for nodes of the partition outside any reservation: they may start before a plan is
  // booked.
  static std::size_t waiting_jobs(const std::string& partition, const Scene& scene);

 private:
  bool is_bookable(const ClusterNode& node) const;
  std::vector<ClusterNode> bookable_nodes() const;

  Cluster& cluster_;
  const Ledger& ledger_;
  std::vector<std::string> allowed_features_;
  Now now_;
};

}  // namespace stint::reservations
