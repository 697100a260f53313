// SPDX-License-Identifier: Apache-2.0
// What slurmctld holds of slurmdbd's records: those of this cluster alone, and also while slurmdbd is away.
// Of sites that have one. Each call is one question to slurmctld and throws ClusterError.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reservations/cluster.h"

namespace stint::reservations {

struct AccountingUser {
  bool is_operator = false;
  std::vector<std::string> accounts;     // the default one first
  std::vector<std::string> coordinates;  // accounts
};
AccountingUser accounting_user(std::uint32_t uid);

// The users of each of these accounts and of those below it; an account that is not in it does not exist.
Cluster::Members accounting_members(const std::vector<std::string>& accounts);

// Whether slurm.conf's AccountingStorageEnforce holds jobs to limits.
bool enforces_limits(std::uint16_t accounting_storage_enforce);
// Of the jobs of these users; only what bounds some job.
WallLimits accounting_limits(const std::vector<std::string>& users);

}  // namespace stint::reservations
