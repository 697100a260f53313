// SPDX-License-Identifier: Apache-2.0
// What accounts may spend on plans in a month, quarter or year, by [budget] of stint.conf. A plan counts in
// the period of its first start, with its price less what was given back. Pure but for the local time zone;
// what was spent comes from the caller.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "reservations/planner.h"

namespace stint::reservations {

struct Budget {
  enum class Period { kMonth, kQuarter, kYear };

  std::int64_t cents = 0;
  bool unlimited = false;
  Period period = Period::kMonth;
  std::vector<std::string> contacts{};  // users who are told when it runs out
  bool operator==(const Budget&) const = default;
};

struct BudgetRules {
  std::map<std::string, Budget> of_account;
  std::optional<Budget> of_others;  // of each account without its own

  // None: the account may spend what it likes.
  std::optional<Budget> find(const std::string& account) const;
  bool operator==(const BudgetRules&) const = default;
};

// The local period that holds the time.
Window period_around(Budget::Period period, std::chrono::sys_seconds time);
// "2026-11", "2026 Q4", "2026"
std::string period_text(Budget::Period period, std::chrono::sys_seconds time);

// A letter or digit, then letters, digits, '_', '-', '.', at most 40.
bool valid_account(const std::string& account);

}  // namespace stint::reservations
