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
#include "reservations/supply.h"
#include "reservations/tariff.h"

namespace stint::reservations {

// What Slurm has at one time: for several questions about the same.
struct Scene {
  std::vector<ClusterNode> nodes;     // that plans may have
  std::vector<ClusterNode> kept_out;  // that none may have, for want of an allowed feature
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
  NodeClass node_class(const NodeKind& kind) const;
  static NodeClass node_class(const NodeKind& kind, const std::vector<ClusterNode>& nodes);
  static Supply supply(const NodeKind& kind, const Scene& scene) {
    return Supply(kind, scene.nodes, scene.kept_out);
  }
  // How many a node of this kind may have, the most first; those without are not among them.
  static std::vector<int> gpu_counts(const NodeKind& kind, const Scene& scene);
  // Whether any node has some, also one that no plan may have.
  static bool has_gpus(const Scene& scene);
  // Jobs that wait for nodes of the partition outside any reservation: they may start before a plan is
  // booked.
  static std::size_t waiting_jobs(const std::string& partition, const Scene& scene);

 private:
  bool is_bookable(const ClusterNode& node) const;
  // Of all nodes, those that plans may have are left; the others are returned.
  std::vector<ClusterNode> keep_out(std::vector<ClusterNode>& nodes) const;

  Cluster& cluster_;
  const Ledger& ledger_;
  std::vector<std::string> allowed_features_;
  Now now_;
};

}  // namespace stint::reservations
