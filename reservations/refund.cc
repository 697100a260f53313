// SPDX-License-Identifier: Apache-2.0
#include "reservations/refund.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

std::int64_t share(std::int64_t cents, std::int64_t part, std::int64_t whole) {
  return static_cast<std::int64_t>(static_cast<__int128>(cents) * part / whole);
}

seconds length_from(sys_seconds start, const std::vector<Window>& windows) {
  seconds length{};
  for (const auto& window : windows)
    length += std::max(seconds{}, window.end - std::max(window.start, start));
  return length;
}

}  // namespace

std::int64_t price_of_rest(const Price& price, const std::vector<Window>& windows, sys_seconds now) {
  const seconds whole = length_from(price.kept_until, windows);
  const seconds rest = std::min(whole, length_from(now, windows));
  return whole > seconds{} ? share(price.cents - price.kept_cents, rest.count(), whole.count()) : 0;
}

Price settled(Price price, const std::vector<Window>& windows, sys_seconds now) {
  price.kept_cents = price.cents - price_of_rest(price, windows, now);
  price.kept_until = std::max(price.kept_until, now);
  return price;
}

int RefundRule::percent_at(seconds lead) const {
  if (lead <= seconds{}) return after_start;
  for (const auto& step : steps) {
    if (lead >= step.before) return step.percent;
  }
  return 0;
}

Refund refund_of(const RefundRule& rule, const Price& price, const std::vector<Window>& windows,
                 sys_seconds now) {
  const auto lead = windows.front().start - now;
  const int percent = rule.percent_at(lead);
  if (lead <= seconds{}) {
    return {share(price_of_rest(price, windows, now), percent, 100),
            fmt::format("{} % of the time that is left", percent)};
  }
  std::string when = fmt::format("less than {} before its start", format_duration(rule.steps.back().before));
  for (const auto& step : rule.steps) {
    if (lead < step.before) continue;
    when = step.before > seconds{} ? format_duration(step.before) + " or more before its start"
                                   : std::string("before its start");
    break;
  }
  return {share(price.cents - price.kept_cents, percent, 100), fmt::format("{} %: {}", percent, when)};
}

}  // namespace stint::reservations
