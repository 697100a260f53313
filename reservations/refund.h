// SPDX-License-Identifier: Apache-2.0
// What a plan that is cancelled gives back, by [refund] of stint.conf. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "reservations/money.h"
#include "reservations/planner.h"

namespace stint::reservations {

struct RefundRule {
  // At least so long before the plan's first start, so many percent of its price.
  struct Step {
    std::chrono::seconds before{};
    int percent = 0;
    bool operator==(const Step&) const = default;
  };
  std::vector<Step> steps{{std::chrono::seconds{}, 100}};  // the longest time first
  int after_start = 0;  // percent of what the time that is left has cost, all hours being equal

  // So long before the first start; after it where that is not above zero.
  int percent_at(std::chrono::seconds lead) const;
  bool operator==(const RefundRule&) const = default;
};

struct Refund {
  std::int64_t cents = 0;  // never more than the price
  std::string why;         // "50 %: 1 h or more before its start"
};

// `windows`: the plan's segments, in order of time. Rounded down to whole cents.
Refund refund_of(const RefundRule& rule, const Price& price, const std::vector<Window>& windows,
                 std::chrono::sys_seconds now);

// What the time that is left has cost: given back where the plan ends through no fault of its owner.
std::int64_t price_of_rest(const Price& price, const std::vector<Window>& windows,
                           std::chrono::sys_seconds now);

// The price before a plan changes: what is past is paid for, and no later number of nodes or hours changes
// it.
Price settled(Price price, const std::vector<Window>& windows, std::chrono::sys_seconds now);

}  // namespace stint::reservations
