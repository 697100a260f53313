// SPDX-License-Identifier: Apache-2.0
#include "reservations/table_rows.h"

#include <algorithm>
#include <functional>
#include <vector>

namespace stint::reservations {
namespace {

using std::chrono::sys_seconds;

bool is_over(const PlanRow& row) {
  return row.state == "expired" || row.state == "failed" || row.state == "cancelled";
}

sys_seconds end_of(const Plan& plan) {
  sys_seconds end{};
  for (const auto& segment : plan.segments) end = std::max(end, segment.end);
  return end;
}

}  // namespace

void drop_old(std::map<std::string, Plan>& plans, sys_seconds now) {
  std::vector<std::int64_t> over;
  for (const auto& [name, plan] : plans) {
    if (!plan.live_at(now) && end_of(plan) >= now - kOverFor) over.push_back(plan.id);
  }
  std::sort(over.begin(), over.end(), std::greater<>());
  if (over.size() > kOverListed) over.resize(kOverListed);
  std::erase_if(plans, [&](const auto& entry) {
    const Plan& plan = entry.second;
    return !plan.live_at(now) && !std::binary_search(over.begin(), over.end(), plan.id, std::greater<>());
  });
}

PlanRow to_published_row(const Plan& plan, sys_seconds now) {
  PlanRow row = to_table_row(plan, now);
  if (!is_over(row) || row.uids.size() <= kOverUsers) return row;
  row.users.resize(kOverUsers);
  row.uids.resize(kOverUsers);
  return row;
}

std::string_view to_string(TableCut cut) {
  switch (cut) {
    case TableCut::kNothing:
      return "nothing is left out";
    case TableCut::kOver:
      return "plans that are over are left out";
    case TableCut::kNames:
      return "plans that are over and the names of users are left out";
    case TableCut::kHopeless:
      return "it stays as it was; too many plans are shared with too many users, cancel some ([policy] "
             "max_plans)";
  }
  return "?";
}

FittedTable fit_table(PlanTable& table, std::size_t most) {
  FittedTable fitted{TableCut::kNothing, table.format()};
  const auto cut = [&](TableCut to) {
    fitted = {to, table.format()};
    return fitted.text.size() <= most;
  };
  if (fitted.text.size() <= most) return fitted;
  std::erase_if(table.plans, is_over);
  if (cut(TableCut::kOver)) return fitted;
  for (PlanRow& row : table.plans) row.users.resize(std::min<std::size_t>(1, row.users.size()));
  if (!cut(TableCut::kNames)) fitted.cut = TableCut::kHopeless;
  return fitted;
}

}  // namespace stint::reservations
