// SPDX-License-Identifier: Apache-2.0
// The web pages: the calendar of all plans, and the page of one. Pure: plans, nodes and jobs in, HTML out;
// every text escaped; bounded in size whatever comes in.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "reservations/ledger.h"
#include "reservations/lookout.h"
#include "reservations/plan.h"

namespace stint::reservations {

constexpr std::size_t kMostPlansListed = 300;
constexpr std::size_t kMostHistoryListed = 300;
constexpr std::size_t kMostJobsListed = 100;

struct Calendar {
  const std::vector<Plan>& plans;
  const Sight& sight;
  std::chrono::sys_seconds now;
  std::string span;        // as the reader chose; see span_of()
  bool anonymous = false;  // when and how many nodes, but not whose
};

std::string calendar_page(const Calendar& calendar);
std::string plan_page(const Plan& plan, const std::vector<HistoryEntry>& history, const Sight& sight,
                      std::chrono::sys_seconds now);
// In place of a page.
std::string message_page(std::string_view title, std::string_view text, std::chrono::sys_seconds now);

}  // namespace stint::reservations
