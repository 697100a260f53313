// SPDX-License-Identifier: Apache-2.0
// What of the plans stands in the plan table: all that are live; of those that are over what slurmctld says
// of them at submit, for a day. Keeps the table within what the plugin reads, whatever people book. Pure.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "base/plan_table.h"
#include "reservations/plan.h"

namespace stint::reservations {

inline constexpr std::size_t kOverListed = 500;  // plans that are over, the newest
inline constexpr std::size_t kOverUsers = 16;    // of each
inline constexpr std::chrono::seconds kOverFor = std::chrono::days{1};

// Takes out the plans that are over, but for the newest.
void drop_old(std::map<std::string, Plan>& plans, std::chrono::sys_seconds now);

PlanRow to_published_row(const Plan& plan, std::chrono::sys_seconds now);

// What a table had to go without to fit.
enum class TableCut { kNothing, kOver, kNames, kHopeless };
std::string_view to_string(TableCut cut);

// Shortens the table to `most` bytes of text: first go the plans that are over, then the names of users, of
// which only the uids count. kHopeless: it is too large all the same.
struct FittedTable {
  TableCut cut = TableCut::kNothing;
  std::string text;
};
FittedTable fit_table(PlanTable& table, std::size_t most);

}  // namespace stint::reservations
