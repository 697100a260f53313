// SPDX-License-Identifier: Apache-2.0
// What accounts booked, used and paid, by local month. Hours stand in the month in which they lie; a plan,
// its price and what it gave back stand in the month of its first start, as budgets count them.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "reservations/ledger.h"
#include "reservations/planner.h"

namespace stint::reservations {

struct ReportLine {
  std::string group;  // the account, or the value of a tag; empty: plans without it
  std::string month;  // "2026-11"
  std::string currency;
  std::int64_t plans = 0;
  std::int64_t booked = 0;  // node-seconds, without spares; of a plan that was ended only what had passed
  NodeSeconds spent;
  std::int64_t price_cents = 0;
  std::int64_t refund_cents = 0;
};

// What `stint plan report` asks for, as it comes over HTTP. Whole local days.
struct ReportRequest {
  Window window;
  std::string account;  // empty: all that the caller may see
  std::string by_tag;   // a key; empty: by account

  // Without times: the month that holds `now`. Throws Error that names the field.
  static ReportRequest parse(const nlohmann::json& body, std::chrono::sys_seconds now);
};

struct Report {
  Window window;
  std::vector<ReportLine> lines;  // by group, then month
};

// As parse_time(), but a weekday is the first one behind `after`, else the last one, today included.
std::chrono::sys_seconds parse_report_time(const std::string& text, std::chrono::sys_seconds now,
                                           std::optional<std::chrono::sys_seconds> after);

// Of the accounts that `visible` lets through, by what `group_of` says; without it by account.
Report make_report(const Ledger& ledger, Window window,
                   const std::function<bool(const std::string& account)>& visible,
                   const std::function<std::string(const Plan&)>& group_of = {});

nlohmann::json to_json(const NodeSeconds& spent);  // {used_hours, idle_hours, lost_hours}

// {from, to, lines: [{account, month, plans, booked_hours, used_hours, idle_hours, lost_hours, price, refund,
// currency}]}; hours as numbers, money as text. By a tag: {tag: its key, …, lines: [{value, month, …}]}.
nlohmann::json to_json(const Report& report, const std::string& by_tag = {});

// The answer as text: a table for people, or comma-separated values with a head line.
std::string report_text(const nlohmann::json& report);
std::string report_csv(const nlohmann::json& report);

}  // namespace stint::reservations
