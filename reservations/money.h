// SPDX-License-Identifier: Apache-2.0
// What a plan costs: exact integers, never floating point. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace stint::reservations {

// A rate per node and hour in millionths of the currency unit.
struct Rate {
  std::int64_t micros = 0;

  // "2", "2.5", "0.000125": digits with at most six decimals, at most 1,000,000,000; throws Error that names
  // the text.
  static Rate parse(std::string_view text);
  std::string format() const;  // "2.50": at least two decimals, no more than needed
};

// Fixed when a plan is booked.
struct Price {
  std::int64_t cents = 0;  // hundredths of the currency unit
  std::string currency;
  Rate rate;

  std::string amount() const;  // "1.67"
};

nlohmann::json to_json(const Price& price);  // {amount, currency, rate}, all texts

// rate x nodes x hours, rounded to the nearest cent, halves up. Spares are not counted by the caller: only
// the nodes that were asked for are paid. Throws Error where the amount does not fit.
Price price_of(Rate rate, const std::string& currency, int nodes, std::chrono::seconds duration);

}  // namespace stint::reservations
