// SPDX-License-Identifier: Apache-2.0
#include "reservations/usage.h"

#include <algorithm>
#include <set>

#include "reservations/local_time.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

// Whoever has not measured for longer was away: what nodes were lost then is not known.
constexpr seconds kRound{30};

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::int64_t held(const std::vector<std::string>& nodes, const std::vector<Hold>& holds, sys_seconds time) {
  std::set<std::string> busy;
  for (const auto& hold : holds) {
    if (hold.from > time) continue;
    for (const auto& node : hold.nodes) {
      if (contains(nodes, node)) busy.insert(node);
    }
  }
  return static_cast<std::int64_t>(busy.size());
}

std::vector<Hold> holds_of(const Plan& plan, const std::vector<ClusterJob>& jobs) {
  std::vector<Hold> holds;
  for (const auto& job : jobs) {
    // A job that rolled over into the next segment held nodes of this one until then.
    const bool inside = std::any_of(plan.segments.begin(), plan.segments.end(), [&](const Segment& segment) {
      return segment.reservation == job.reservation;
    });
    if (inside && !job.nodes.empty()) holds.push_back({job.started, job.nodes});
  }
  return holds;
}

}  // namespace

NodeSeconds node_seconds(Window window, int promised, const std::vector<std::string>& nodes,
                         const std::vector<std::string>& lost, const std::vector<Hold>& holds) {
  std::set<sys_seconds> edges{window.start, window.end};
  for (const auto& hold : holds) {
    if (hold.from > window.start && hold.from < window.end) edges.insert(hold.from);
  }
  const auto sound = std::count_if(nodes.begin(), nodes.end(),
                                   [&](const std::string& node) { return !contains(lost, node); });
  const auto missing = std::max<std::int64_t>(0, promised - sound);
  NodeSeconds sum;
  for (auto edge = edges.begin(); std::next(edge) != edges.end(); ++edge) {
    const auto length = (*std::next(edge) - *edge).count();
    const auto used = std::min<std::int64_t>(promised, held(nodes, holds, *edge));
    const auto gone = std::min(promised - used, missing);
    sum += {used * length, (promised - used - gone) * length, gone * length};
  }
  return sum;
}

struct UsageMeter::Scene {
  std::vector<Hold> holds;        // of the plan's jobs
  std::vector<std::string> lost;  // of the cluster
  sys_seconds now;
};

// Where nothing is known yet, a row that begins with the segment.
UsageRow& UsageMeter::latest(const Plan& plan, std::size_t k) {
  const auto known = latest_.find({plan.id, k});
  if (known != latest_.end()) return known->second;
  const auto start = plan.segments[k].start;
  UsageRow row{plan.id, k, start_of_day(start), start, {}};
  for (const auto& written : ledger_.usage(plan.id)) {
    if (written.k == k && written.until >= row.until) row = written;
  }
  return latest_[{plan.id, k}] = row;
}

// A day and, after a gap, what is known of it at a time.
void UsageMeter::measure(const Plan& plan, std::size_t k, const Scene& scene,
                         std::vector<UsageRow>& changed) {
  const auto& segment = plan.segments[k];
  const auto until = std::min(scene.now, segment.end);
  auto& row = latest(plan, k);
  row.until = std::max(row.until, segment.start);  // it may have been moved
  while (row.until < until) {
    const auto midnight = next_day(row.until);
    const auto day = start_of_day(row.until);
    if (row.day != day) row = {plan.id, k, day, row.until, {}};
    auto to = std::min(until, midnight);
    const auto gap_end = scene.now - kRound;
    const bool away = row.until < gap_end;
    if (away) to = std::min(to, gap_end);
    row.spent += node_seconds({row.until, to}, plan.nodes, segment.nodes,
                              away ? std::vector<std::string>{} : scene.lost, scene.holds);
    row.until = to;
    if (!changed.empty() && changed.back().plan == row.plan && changed.back().k == k &&
        changed.back().day == row.day) {
      changed.back() = row;
    } else {
      changed.push_back(row);
    }
  }
}

void UsageMeter::measure(const std::vector<Plan>& plans, const std::vector<ClusterJob>& jobs,
                         const std::vector<ClusterNode>& nodes, sys_seconds now) {
  Scene scene;
  scene.now = now;
  for (const auto& node : nodes) {
    if (!node.usable()) scene.lost.push_back(node.name);
  }
  std::vector<UsageRow> changed;
  std::set<std::int64_t> seen;
  for (const auto& plan : plans) {
    seen.insert(plan.id);
    if (plan.phase != Phase::kBooked) continue;
    scene.holds = holds_of(plan, jobs);
    for (std::size_t k = 0; k < plan.segments.size(); ++k) {
      if (plan.segments[k].start < now) measure(plan, k, scene, changed);
    }
  }
  if (!changed.empty()) ledger_.set_usage(changed);
  std::erase_if(latest_, [&](const auto& entry) { return !seen.contains(entry.first.first); });
}

}  // namespace stint::reservations
