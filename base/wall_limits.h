// SPDX-License-Identifier: Apache-2.0
// How long Slurm's accounting lets jobs run: MaxWall of QOS and associations, by Slurm's own order of
// precedence. Pure; stintd reads the limits from slurmctld, the plugin from the plan table.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace stint {

struct WallLimits {
  struct Qos {
    std::string name;
    std::optional<std::chrono::minutes> max_wall;
    bool over_partition_qos = false;  // OverPartQOS: counts before the partition's own QOS
    bool over_max_time = false;       // PartitionTimeLimit: its jobs may exceed the partition's MaxTime
  };
  struct Association {
    std::uint32_t uid = 0;
    std::string account;
    std::string partition;    // empty: for all in which the user has no other one of the account
    bool is_default = false;  // of a job that names no account
    std::string qos;          // of a job that names none
    std::optional<std::chrono::minutes> max_wall;
  };
  std::vector<Qos> qos;
  std::vector<Association> associations;

  // A job as its user asked for it, or as Slurm has it; account and QOS may be empty.
  struct Job {
    std::uint32_t uid = 0;
    std::string account;
    std::string qos;
  };
  struct Partition {
    std::string name;
    std::optional<std::chrono::minutes> max_time;
    std::string qos;  // its own; may be empty
  };
  struct Bound {
    std::optional<std::chrono::minutes> most;  // none: no limit
    std::string by;                            // "partition main", "QOS short", "account physics"
  };
  // The least of MaxTime and MaxWall. Of MaxWall that of the first counts which has one: the partition's QOS,
  // the job's QOS, the association.
  Bound bound(const Job& job, const Partition& partition) const;

 private:
  const Qos* find_qos(const std::string& name) const;
  const Association* find_association(const Job& job, const std::string& partition) const;
};

}  // namespace stint
