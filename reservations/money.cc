// SPDX-License-Identifier: Apache-2.0
#include "reservations/money.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace stint::reservations {
namespace {

constexpr std::int64_t kMicrosPerUnit = 1'000'000;
constexpr std::int64_t kCentsPerUnit = 100;
constexpr std::int64_t kMicrosPerCent = kMicrosPerUnit / kCentsPerUnit;
constexpr std::int64_t kMaxUnits = 1'000'000'000;
constexpr std::size_t kMaxDecimals = 6;

bool all_digits(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::int64_t to_number(std::string_view digits) {
  std::int64_t value = 0;
  for (char c : digits) value = value * 10 + (c - '0');
  return value;
}

}  // namespace

Rate Rate::parse(std::string_view text) {
  const auto point = text.find('.');
  const auto whole = text.substr(0, point);
  const auto decimals = point == std::string_view::npos ? std::string_view{} : text.substr(point + 1);
  const bool point_alone = point != std::string_view::npos && decimals.empty();
  if (whole.empty() || whole.size() > 10 || point_alone || decimals.size() > kMaxDecimals ||
      !all_digits(whole) || !all_digits(decimals) || to_number(whole) > kMaxUnits) {
    fail("'{}' is no price; write digits with at most six decimals, e.g. 2.50", text);
  }
  std::string padded(decimals);
  padded.resize(kMaxDecimals, '0');
  return Rate{to_number(whole) * kMicrosPerUnit + to_number(padded)};
}

std::string Rate::format() const {
  std::string decimals = fmt::format("{:06}", micros % kMicrosPerUnit);
  while (decimals.size() > 2 && decimals.back() == '0') decimals.pop_back();
  return fmt::format("{}.{}", micros / kMicrosPerUnit, decimals);
}

std::string amount_text(std::int64_t cents) {
  const auto size = cents < 0 ? -cents : cents;
  return fmt::format("{}{}.{:02}", cents < 0 ? "-" : "", size / kCentsPerUnit, size % kCentsPerUnit);
}

std::string Price::amount() const {
  return amount_text(cents);
}

std::int64_t parse_amount(std::string_view text) {
  const auto micros = Rate::parse(text).micros;
  if (micros % kMicrosPerCent != 0) fail("'{}' has more than two decimals", text);
  return micros / kMicrosPerCent;
}

nlohmann::json to_json(const Price& price) {
  nlohmann::json json{
      {"amount", price.amount()}, {"currency", price.currency}, {"rate", price.rate.format()}};
  if (!price.breakdown.empty()) json["breakdown"] = price.breakdown;
  return json;
}

std::int64_t rounded_cents(__int128 product, __int128 scale) {
  const __int128 divisor = scale * 3600 * kMicrosPerCent;
  const __int128 cents = (product + divisor / 2) / divisor;
  if (cents > std::numeric_limits<std::int64_t>::max())
    fail("the price is too large to be written down; check the rates of [price]");
  return static_cast<std::int64_t>(cents);
}

Price price_of(Rate rate, const std::string& currency, int nodes, std::chrono::seconds duration) {
  const __int128 product = static_cast<__int128>(rate.micros) * nodes * duration.count();
  return Price{rounded_cents(product), currency, rate, {}};
}

}  // namespace stint::reservations
