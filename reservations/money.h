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
  bool operator==(const Rate&) const = default;
};

// Fixed when a plan is booked.
struct Price {
  std::int64_t cents = 0;  // hundredths of the currency unit
  std::string currency;
  Rate rate;                // on average
  std::string breakdown{};  // "2 h at 0.50, 1 h night at 0.30 a node and hour, -10 % long"; may be empty
  // Of cents: what never comes back, for the time before `kept_until` and what refund rules have kept. The
  // rest pays for the time since, all hours being equal.
  std::int64_t kept_cents = 0;
  std::chrono::sys_seconds kept_until{};

  std::string amount() const;  // "1.67"
};

std::string amount_text(std::int64_t cents);  // "1.67", "-0.05"
// "1.67", "20": digits with at most two decimals; throws Error that names the text.
std::int64_t parse_amount(std::string_view text);

nlohmann::json to_json(const Price& price);  // {amount, currency, rate, breakdown?}, all texts

// micros x seconds (of rates an hour), times `scale`, as cents: rounded to the nearest one, halves up. Throws
// Error where the amount does not fit.
std::int64_t rounded_cents(__int128 product, __int128 scale = 1);

// What a single rate comes to: rate x nodes x hours.
Price price_of(Rate rate, const std::string& currency, int nodes, std::chrono::seconds duration);

}  // namespace stint::reservations
