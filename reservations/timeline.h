// SPDX-License-Identifier: Apache-2.0
// Plans on the axis of time, as inline SVG that needs no script. Rows are nodes, leaf switch by leaf switch,
// as long as they are few; beyond that one row a plan, up to a bound, so that the picture of 10,000 nodes is
// no larger than that of 100. Pure.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "reservations/lookout.h"
#include "reservations/plan.h"

namespace stint::reservations {

// What a timeline shows of time; [from, until).
struct TimeSpan {
  std::chrono::sys_seconds from{};
  std::chrono::sys_seconds until{};
};

struct Timeline {
  static constexpr std::size_t kMostNodeRows = 128;
  static constexpr std::size_t kMostPlanRows = 100;
  static constexpr std::size_t kMostBars = 3'000;  // where rows are nodes

  const std::vector<Plan>& plans;  // failed and cancelled ones are not drawn
  const std::vector<SeenNode>& nodes;
  std::chrono::sys_seconds now;
  TimeSpan span;
  bool anonymous = false;  // bars without names, users, node lists and links
};

// The nearest of the spans that people choose from: "6h" to "8w", else the shortest of them
// that shows the end of every live plan. A twelfth of it lies before now.
TimeSpan span_of(const std::string& name, const std::vector<Plan>& plans, std::chrono::sys_seconds now);
const std::vector<std::string>& span_names();

std::string timeline_svg(const Timeline& timeline);
// How much of the cluster is booked when, over the same axis; a node that two plans hold counts once each.
std::string booked_share_svg(const Timeline& timeline);

}  // namespace stint::reservations
