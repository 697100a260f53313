// SPDX-License-Identifier: Apache-2.0
// The plan table: what slurmctld's job_submit plugin knows of plans. stintd writes it as one INI file beside
// Slurm's state (atomic rename, 0644); the plugin reads it when its mtime changes. No RPC, no Slurm types.
// Every key but gpus, max_time, partition_qos and released is needed; what stands behind <- is explanation,
// not part of the file. Sections of QOS and associations are there only where Slurm enforces limits, and for
// those which matter.
//
//   [table]
//   written = 1795444444        <- seconds since the epoch
//   [plan demo]
//   state = active              <- pending | scheduled | active | expired | failed | cancelled
//   users = alice,bob           <- user names that may submit
//   uids = 1000,1001            <- the same, numeric: what the plugin compares
//   partition = main
//   nodes = 4
//   spares = 1
//   gpus = 8                    <- fewest of any of its nodes; may be missing: not known
//   max_time = 1440             <- MaxTime of the partition in minutes; missing: no limit
//   partition_qos = big         <- the partition's own QOS; missing: none
//   [segment demo.0]            <- reservation name; stands after its plan
//   start = 1795444444
//   end = 1795448044
//   nodes = node[1-5]
//   released = 1                <- its rest was given back, no job was in it; may be missing: it was not
//   [qos 0]                     <- numbered; one that bounds the time of jobs, or lifts a bound
//   name = short
//   max_wall = 60               <- minutes; may be missing
//   over_partition_qos = yes    <- its flag OverPartQOS; may be missing
//   over_max_time = yes         <- its flag PartitionTimeLimit; may be missing
//   [association 0]             <- numbered
//   uid = 1000
//   account = physics
//   partition = main            <- missing: for all
//   default = yes               <- of jobs that name no account; may be missing
//   qos = short                 <- of jobs that name none; may be missing
//   max_wall = 120              <- minutes; may be missing
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/wall_limits.h"

namespace stint {

struct SegmentRow {
  std::string reservation;
  std::chrono::sys_seconds start{};
  std::chrono::sys_seconds end{};
  std::string nodes;
  bool released = false;
};

struct PlanRow {
  std::string name;
  std::string state;
  std::vector<std::string> users;
  std::vector<std::uint32_t> uids;
  std::string partition;
  int nodes = 0;
  int spares = 0;
  std::vector<SegmentRow> segments;
  std::optional<int> gpus{};  // of that node of the plan which has the fewest; none: not known
  std::optional<std::chrono::minutes> max_time{};  // of a job in the partition; none: no limit
  std::string partition_qos{};

  bool may_submit(std::uint32_t uid) const;
  // The segment that holds `now`, else the next one; nullptr when all are over.
  const SegmentRow* segment_at(std::chrono::sys_seconds now) const;
};

class PlanTable {
 public:
  static constexpr std::size_t kMaxBytes = 32 << 20;  // some 50,000 plans

  static PlanTable parse(std::string_view text, std::string name);  // throws Error with file:line
  std::string format() const;  // throws Error on a value that could not be read back

  std::chrono::sys_seconds written{};  // zero: format() writes the time of the call
  std::vector<PlanRow> plans;
  WallLimits limits;
  const PlanRow* find(std::string_view name) const;
  // The live plan whose segment this is; nullptr: none.
  const PlanRow* holder(std::string_view reservation) const;
};

}  // namespace stint
