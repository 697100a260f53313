// SPDX-License-Identifier: Apache-2.0
#include "base/wall_limits.h"

#include <strings.h>

#include <algorithm>
#include <utility>

namespace stint {
namespace {

// Slurm compares names of accounts and QOS so.
bool same(const std::string& a, const std::string& b) {
  return ::strcasecmp(a.c_str(), b.c_str()) == 0;
}

}  // namespace

const WallLimits::Qos* WallLimits::find_qos(const std::string& name) const {
  const auto at = std::find_if(qos.begin(), qos.end(), [&](const Qos& one) { return same(one.name, name); });
  return at == qos.end() ? nullptr : &*at;
}

const WallLimits::Association* WallLimits::find_association(const Job& job,
                                                            const std::string& partition) const {
  const Association* found = nullptr;
  for (const auto& one : associations) {
    const bool account = job.account.empty() ? one.is_default : same(one.account, job.account);
    if (one.uid != job.uid || !account) continue;
    if (one.partition == partition) return &one;
    if (one.partition.empty()) found = &one;
  }
  return found;
}

WallLimits::Bound WallLimits::bound(const Job& job, const Partition& partition) const {
  const Association* association = find_association(job, partition.name);
  const Qos* own = find_qos(job.qos.empty() && association ? association->qos : job.qos);
  const Qos* first = find_qos(partition.qos);
  const Qos* second = own;
  if (own && own->over_partition_qos) std::swap(first, second);
  Bound wall;
  if (first && first->max_wall) {
    wall = {first->max_wall, "QOS " + first->name};
  } else if (second && second->max_wall) {
    wall = {second->max_wall, "QOS " + second->name};
  } else if (association && association->max_wall) {
    wall = {association->max_wall, "account " + association->account};
  }
  const bool by_partition = partition.max_time && !(own && own->over_max_time);
  if (by_partition && (!wall.most || *partition.max_time <= *wall.most))
    return {partition.max_time, "partition " + partition.name};
  return wall;
}

}  // namespace stint
