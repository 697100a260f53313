// SPDX-License-Identifier: Apache-2.0
// How much of the cluster plans hold and use now. Pure.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "reservations/lookout.h"
#include "reservations/plan.h"

namespace stint::reservations {

struct Tally {
  std::map<std::string, int> plans;                    // by state
  std::size_t cluster = 0;                             // nodes of the cluster
  std::size_t booked = 0;                              // nodes of segments that are open now, spares included
  std::size_t used = 0;                                // of them, with a job of the plan on them
  std::size_t lost = 0;                                // of them, those that Slurm does not use
  std::optional<std::chrono::sys_seconds> next_start;  // of a segment that is still to come
};

Tally tally(const std::vector<Plan>& plans, const Sight& sight, std::chrono::sys_seconds now);

}  // namespace stint::reservations
