// SPDX-License-Identifier: Apache-2.0
// How long Slurm's own limits let a job run: its partition's MaxTime and the MaxWall of QOS and association.
// What Slurm said is remembered for a few seconds. Safe from several threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "base/wall_limits.h"
#include "reservations/cluster.h"

namespace stint::reservations {

class JobLimits {
 public:
  using Now = std::function<double()>;  // seconds since the epoch

  JobLimits(Cluster& cluster, Now now) : cluster_(cluster), now_(std::move(now)) {}

  // None: no limit. Throws ClusterError.
  std::optional<std::chrono::minutes> of(const ClusterJob& job);

 private:
  void load();

  Cluster& cluster_;
  Now now_;
  std::mutex mutex_;
  double loaded_ = 0;
  std::set<std::uint32_t> uids_;       // whose limits were loaded
  std::set<std::uint32_t> asked_for_;  // since then
  std::map<std::string, ClusterPartition> partitions_;
  WallLimits walls_;
};

}  // namespace stint::reservations
