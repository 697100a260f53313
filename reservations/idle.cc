// SPDX-License-Identifier: Apache-2.0
#include "reservations/idle.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/text.h"
#include "reservations/course.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr seconds kAway{30};        // nobody looked for longer: jobs may have come and gone
constexpr seconds kWriteEvery{10};  // what has only grown older

const Plan& plan_of(const IdleRow& row, const std::vector<Plan>& plans) {
  return *std::find_if(plans.begin(), plans.end(), [&](const Plan& plan) { return plan.id == row.plan; });
}

// Whether it is worth a write: more has changed than the time of the last look.
bool differs(const std::vector<IdleRow>& now, const std::vector<IdleRow>& written) {
  return !std::equal(now.begin(), now.end(), written.begin(), written.end(),
                     [](const IdleRow& a, const IdleRow& b) {
                       return a.plan == b.plan && a.k == b.k && a.since == b.since && a.told == b.told &&
                              a.seen - b.seen < kWriteEvery;
                     });
}

}  // namespace

std::optional<std::size_t> open_segment(const Plan& plan, sys_seconds now) {
  if (plan.phase != Phase::kBooked) return std::nullopt;
  for (std::size_t k = 0; k < plan.segments.size(); ++k) {
    if (plan.segments[k].start < now && now < plan.segments[k].end) return k;
  }
  return std::nullopt;
}

bool uses(const Plan& plan, std::size_t k, const ClusterJob& job) {
  if (job.state == JobState::kFinished) return false;
  const auto in = segment_of(plan, job.reservation);
  if (in) return *in <= k || job.state != JobState::kPending;  // one that rolls over is moved ahead
  const bool may = plan.uids.empty() || plan.may_use(job.uid);
  return may && parse_wishes(job.admin_comment).plan == plan.name;
}

std::vector<IdleRow> idle_now(const std::vector<Plan>& plans, const std::vector<ClusterJob>& jobs,
                              const std::vector<IdleRow>& known, sys_seconds looked, sys_seconds now) {
  std::vector<IdleRow> idle;
  for (const auto& plan : plans) {
    const auto k = open_segment(plan, now);
    if (!k) continue;
    const auto in_use =
        std::any_of(jobs.begin(), jobs.end(), [&](const ClusterJob& job) { return uses(plan, *k, job); });
    if (in_use) continue;
    IdleRow row{plan.id, *k, std::max(looked, plan.segments[*k].start), {}, now};
    for (const auto& before : known) {
      if (before.plan != plan.id || before.k != *k || now - before.seen > kAway) continue;
      row.since = before.since;
      row.told = before.told;
    }
    idle.push_back(row);
  }
  return idle;
}

bool tell_now(const IdleRow& row, const IdleRules& rules, sys_seconds now) {
  return row.told == sys_seconds{} && now + rules.notice >= row.since + rules.after;
}

sys_seconds release_time(const IdleRow& row, const IdleRules& rules, sys_seconds now) {
  const auto told = row.told == sys_seconds{} ? now : row.told;
  return std::max(row.since + rules.after, told + rules.notice);
}

std::vector<IdleRow> IdleWatch::look(const std::vector<Plan>& plans, const std::vector<ClusterJob>& jobs,
                                     sys_seconds now) {
  if (!rules_) return {};
  if (!rows_) rows_ = ledger_.idle_rows();
  auto rows = idle_now(plans, jobs, *rows_, now - looked_ > kAway ? now : looked_, now);
  looked_ = now;
  std::vector<std::pair<std::int64_t, HistoryEntry>> entries;
  std::vector<IdleRow> due;
  for (auto& row : rows) {
    const auto& plan = plan_of(row, plans);
    const auto& segment = plan.segments[row.k];
    const auto release = release_time(row, *rules_, now);
    if (release >= segment.end) continue;  // it ends by itself before
    if (tell_now(row, *rules_, now)) {
      const auto detail = fmt::format(
          "no job is in {} since {}; what is left of it is released at {} unless "
          "a job comes",
          segment.reservation, format_time(row.since), format_time(release));
      row.told = now;
      entries.emplace_back(row.plan, HistoryEntry{static_cast<double>(now.time_since_epoch().count()),
                                                  "stintd", "idle", detail});
      spdlog::info("plan {}: {}", plan.name, detail);
    }
    if (row.told != sys_seconds{} && now >= release) due.push_back(row);
  }
  if (differs(rows, *rows_) || !entries.empty()) {
    ledger_.set_idle_rows(rows, entries);
    rows_ = std::move(rows);
  }
  return due;
}

void IdleWatch::forget(std::int64_t plan) {
  if (!rows_) return;
  std::erase_if(*rows_, [&](const IdleRow& row) { return row.plan == plan; });
  ledger_.set_idle_rows(*rows_, {});
}

}  // namespace stint::reservations
