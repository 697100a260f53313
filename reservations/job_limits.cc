// SPDX-License-Identifier: Apache-2.0
#include "reservations/job_limits.h"

#include <utility>
#include <vector>

#include "reservations/users.h"
#include "reservations/waits.h"

namespace stint::reservations {
namespace {

constexpr double kLife = 10;  // seconds

}  // namespace

std::optional<std::chrono::minutes> JobLimits::of(const ClusterJob& job) {
  const std::lock_guard lock(mutex_);
  asked_for_.insert(job.uid);
  if (!waits_until(loaded_ + kLife, kLife, now_())) {
    uids_ = std::exchange(asked_for_, {});  // the others have no jobs any more
    load();
  } else if (uids_.insert(job.uid).second) {
    load();
  }
  const auto& partition = partitions_[job.partition];
  return walls_.bound({job.uid, job.account, job.qos}, {job.partition, partition.max_time, partition.qos})
      .most;
}

void JobLimits::load() {
  std::map<std::string, ClusterPartition> partitions;
  for (auto& partition : cluster_.partitions()) partitions[partition.name] = partition;
  std::vector<std::string> users;
  for (const auto uid : uids_) users.push_back(user_of_uid(uid));
  walls_ = cluster_.wall_limits(users);
  partitions_ = std::move(partitions);
  loaded_ = now_();
}

}  // namespace stint::reservations
