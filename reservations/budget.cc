// SPDX-License-Identifier: Apache-2.0
#include "reservations/budget.h"

#include <fmt/format.h>

#include <algorithm>

#include "reservations/local_time.h"

namespace stint::reservations {
namespace {

constexpr std::size_t kMaxAccount = 40;

bool letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int first_month(Budget::Period period, int month) {
  switch (period) {
    case Budget::Period::kMonth:
      return month;
    case Budget::Period::kQuarter:
      return (month - 1) / 3 * 3 + 1;
    case Budget::Period::kYear:
      return 1;
  }
  return month;
}

int months_of(Budget::Period period) {
  switch (period) {
    case Budget::Period::kMonth:
      return 1;
    case Budget::Period::kQuarter:
      return 3;
    case Budget::Period::kYear:
      return 12;
  }
  return 1;
}

}  // namespace

std::optional<Budget> BudgetRules::find(const std::string& account) const {
  const auto own = of_account.find(account);
  const auto budget = own != of_account.end() ? std::optional(own->second) : of_others;
  return budget && !budget->unlimited ? budget : std::nullopt;
}

Window period_around(Budget::Period period, std::chrono::sys_seconds time) {
  const auto local = local_time(time);
  const int month = first_month(period, local.month);
  return {local_midnight(local.year, month, 1), local_midnight(local.year, month + months_of(period), 1)};
}

std::string period_text(Budget::Period period, std::chrono::sys_seconds time) {
  const auto local = local_time(time);
  switch (period) {
    case Budget::Period::kMonth:
      return month_text(time);
    case Budget::Period::kQuarter:
      return fmt::format("{} Q{}", local.year, (local.month - 1) / 3 + 1);
    case Budget::Period::kYear:
      return std::to_string(local.year);
  }
  return {};
}

bool valid_account(const std::string& account) {
  return !account.empty() && account.size() <= kMaxAccount && letter_or_digit(account.front()) &&
         std::all_of(account.begin(), account.end(),
                     [](char c) { return letter_or_digit(c) || c == '_' || c == '-' || c == '.'; });
}

}  // namespace stint::reservations
