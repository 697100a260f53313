// SPDX-License-Identifier: Apache-2.0
#include "reservations/tally.h"

#include <set>

namespace stint::reservations {
namespace {

using std::chrono::sys_seconds;

bool open_at(const Segment& segment, sys_seconds now) {
  return segment.start <= now && now < segment.end;
}

std::set<std::string> nodes_in_use(const Sight& sight, const std::set<std::string>& reservations) {
  std::set<std::string> used;
  for (const auto& job : sight.jobs) {
    if (reservations.contains(job.reservation)) used.insert(job.nodes.begin(), job.nodes.end());
  }
  return used;
}

}  // namespace

Tally tally(const std::vector<Plan>& plans, const Sight& sight, sys_seconds now) {
  Tally sum;
  sum.cluster = sight.nodes.size();
  std::set<std::string> booked, ours;
  for (const auto& plan : plans) {
    ++sum.plans[std::string(to_string(plan.state_at(now)))];
    if (!plan.live_at(now)) continue;
    for (const auto& segment : plan.segments) {
      if (segment.start > now && (!sum.next_start || segment.start < *sum.next_start))
        sum.next_start = segment.start;
      ours.insert(segment.reservation);  // a job may be led into the next segment before this one ends
      if (!open_at(segment, now)) continue;
      booked.insert(segment.nodes.begin(), segment.nodes.end());
    }
  }
  sum.booked = booked.size();
  for (const auto& node : nodes_in_use(sight, ours)) sum.used += booked.contains(node) ? 1 : 0;
  for (const auto& node : sight.nodes) sum.lost += node.lost && booked.contains(node.name) ? 1 : 0;
  return sum;
}

}  // namespace stint::reservations
