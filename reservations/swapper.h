// SPDX-License-Identifier: Apache-2.0
// Gives plans other nodes for those that Slurm will not run their jobs on: dead ones, and those that others
// claim. Where none is free the plan keeps its node, and its history says so once, and when a
// dead one is back. Not thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "reservations/capacity.h"
#include "reservations/claims.h"
#include "reservations/cluster.h"
#include "reservations/ledger.h"
#include "reservations/metrics.h"
#include "reservations/plan.h"

namespace stint::reservations {

// What a plan's segment must become in Slurm.
ClusterReservation to_reservation(const Plan& plan, const Segment& segment);

class Swapper {
 public:
  using Now = std::function<double()>;  // seconds since the epoch

  Swapper(Cluster& cluster, Ledger& ledger, Metrics& metrics, const Capacity& capacity, Now now);

  // One round over plans that are live and booked, or pending. Throws ClusterError when Slurm is away.
  void swap(const std::vector<Plan*>& plans, const std::vector<ClusterNode>& nodes,
            const std::vector<ClusterReservation>& reservations);

 private:
  std::chrono::sys_seconds now() const;
  void swap_dead(Plan& plan, std::size_t k, const std::vector<ClusterNode>& nodes);
  void swap_claimed(Plan& plan, std::size_t k, const ReservationsOfNodes& reservations);
  void note_loss(const Plan& plan, const ClusterNode& node);
  void note_return(const Plan& plan, const ClusterNode& node);
  bool swap_node(Plan& plan, std::size_t k, const std::string& node, const std::string& why);
  void note_once(const Plan& plan, const std::string& action, const std::string& detail);

  Cluster& cluster_;
  Ledger& ledger_;
  Metrics& metrics_;
  const Capacity& capacity_;
  Now now_;
  std::set<std::string> suspects_;  // nodes found unusable by the last round

  struct Loss {
    std::chrono::sys_seconds since{};
    bool told = false;
  };
  std::map<std::pair<std::int64_t, std::string>, Loss> losses_;  // by plan and node
};

}  // namespace stint::reservations
