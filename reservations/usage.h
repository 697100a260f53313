// SPDX-License-Identifier: Apache-2.0
// How much of what was promised was used: node-seconds of every open segment, measured a round at a time and
// kept in the ledger by local day. At any instant at most the promised nodes count: those that a job of the
// plan holds are used; of the others those are lost that the segment's sound nodes, spares included, cannot
// make up; the rest is idle. After a time in which nobody measured (stintd was away), jobs that still run
// count from their start; everything else of that time is idle. Not safe from several threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "reservations/cluster.h"
#include "reservations/ledger.h"
#include "reservations/plan.h"
#include "reservations/planner.h"

namespace stint::reservations {

// What holds nodes of a segment, from when on.
struct Hold {
  std::chrono::sys_seconds from{};
  std::vector<std::string> nodes;
};

// Pure. `nodes` is the segment's, `promised` without spares; `lost`: those that Slurm does not use.
NodeSeconds node_seconds(Window window, int promised, const std::vector<std::string>& nodes,
                         const std::vector<std::string>& lost, const std::vector<Hold>& holds);

class UsageMeter {
 public:
  explicit UsageMeter(Ledger& ledger) : ledger_(ledger) {}

  // Counts what has passed of the plans' segments since it was last counted. One transaction.
  void measure(const std::vector<Plan>& plans, const std::vector<ClusterJob>& jobs,
               const std::vector<ClusterNode>& nodes, std::chrono::sys_seconds now);

 private:
  using Key = std::pair<std::int64_t, std::size_t>;  // plan and segment
  struct Scene;

  UsageRow& latest(const Plan& plan, std::size_t k);
  void measure(const Plan& plan, std::size_t k, const Scene& scene, std::vector<UsageRow>& changed);

  Ledger& ledger_;
  std::map<Key, UsageRow> latest_;  // the newest row of each segment
};

}  // namespace stint::reservations
