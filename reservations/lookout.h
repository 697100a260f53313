// SPDX-License-Identifier: Apache-2.0
// What was last seen of the cluster, so that no page, metric or question of privacy has to wait for Slurm.
// Safe from several threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "reservations/cluster.h"

namespace stint::reservations {

struct SeenNode {
  std::string name;
  std::string leaf_switch;  // empty without a topology
  bool lost = false;        // Slurm does not use it at present
};

std::string_view to_string(JobState state);

// A pending, running or completing job with a reservation.
struct SeenJob {
  std::uint32_t id = 0;
  std::uint32_t uid = 0;
  std::string name;
  std::string reservation;
  JobState state = JobState::kPending;
  std::vector<std::string> nodes;
};

struct Sight {
  bool known = false;           // Slurm has answered since stintd began
  std::vector<SeenNode> nodes;  // leaf switch by leaf switch, names in the order people count
  std::vector<SeenJob> jobs;
  bool private_plans = true;  // PrivateData=reservations or nodes; so until Slurm has said otherwise
  bool private_jobs = true;   // PrivateData=jobs
};

class Lookout {
 public:
  explicit Lookout(Cluster& cluster);

  // Looks anew. Throws ClusterError; then what was seen before stands.
  void look();
  std::shared_ptr<const Sight> sight() const;  // never null

 private:
  Cluster& cluster_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Sight> sight_ = std::make_shared<const Sight>();
};

// Whether a stands before b where numbers in names count as numbers: node9 before node10.
bool counts_before(std::string_view a, std::string_view b);

}  // namespace stint::reservations
