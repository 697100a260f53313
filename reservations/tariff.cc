// SPDX-License-Identifier: Apache-2.0
#include "reservations/tariff.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "reservations/local_time.h"

namespace stint::reservations {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr int kPercent = 100;
constexpr seconds kDay{86'400};
// Clocks change at most once in such a time.
constexpr seconds kLook{6 * 3600};

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Time at one rate. The rate is of one node and hour in hundredths of millionths, so that percentages are
// exact.
struct Piece {
  const PriceRule* rule = nullptr;  // none: [price] itself
  seconds time{};
};

__int128 fine_rate(const PriceRules& rules, const PriceRule* rule, int gpus) {
  const Rate node = rule == nullptr ? rules.node_hour : rule->node_hour.value_or(rules.node_hour);
  const Rate gpu = rule == nullptr ? rules.gpu_hour : rule->gpu_hour.value_or(rules.gpu_hour);
  const int percent = rule == nullptr ? kPercent : kPercent + rule->percent;
  return (static_cast<__int128>(node.micros) + static_cast<__int128>(gpu.micros) * gpus) * percent;
}

Rate rounded(__int128 value, __int128 divisor) {
  return Rate{static_cast<std::int64_t>((value + divisor / 2) / divisor)};
}

// The times of a window, in pieces of one rule each.
class Cutter {
 public:
  Cutter(const PriceRules& rules, const NodeClass& kind) {
    for (const auto& rule : rules.rules) {
      if (!rule.suits(kind)) continue;
      suitable_.push_back(&rule);
      if (!rule.depends_on_time()) break;  // none behind it is ever asked
      if (rule.hours) edges_.insert(edges_.end(), {rule.hours->from, rule.hours->to});
    }
    edges_.push_back(kDay);
    std::sort(edges_.begin(), edges_.end());
    timeless_ = suitable_.empty() || !suitable_.front()->depends_on_time();
  }

  std::vector<sys_seconds> changes(Window within) const {
    std::vector<sys_seconds> changes;
    if (timeless_) return changes;
    const PriceRule* last = rule_at(local_time(within.start));
    for (auto time = within.start; time < within.end;) {
      const auto local = local_time(time);
      const auto* rule = rule_at(local);
      if (rule != last) changes.push_back(time);
      last = rule;
      time = next_edge(time, local);
    }
    return changes;
  }

  // Times of the same rule are put together, in the order in which the rules first hold.
  void cut(Window window, std::vector<Piece>& pieces) const {
    for (auto from = window.start; from < window.end;) {
      const auto local = local_time(from);
      const auto to = timeless_ ? window.end : std::min(window.end, next_edge(from, local));
      add(pieces, rule_at(local), to - from);
      from = to;
    }
  }

 private:
  const PriceRule* rule_at(const LocalTime& local) const {
    for (const auto* rule : suitable_) {
      if (rule->holds_at(local.weekday, local.of_day)) return rule;
    }
    return nullptr;
  }

  static void add(std::vector<Piece>& pieces, const PriceRule* rule, seconds time) {
    for (auto& piece : pieces) {
      if (piece.rule != rule) continue;
      piece.time += time;
      return;
    }
    pieces.push_back({rule, time});
  }

  // Until then the clock runs evenly and no rule begins or ends.
  sys_seconds next_edge(sys_seconds from, const LocalTime& local) const {
    const auto edge = *std::upper_bound(edges_.begin(), edges_.end(), local.of_day);
    const auto to = from + std::min<seconds>(edge - local.of_day, kLook);
    return local_time(to).offset == local.offset ? to : change_of_clock(from, to, local.offset);
  }

  static sys_seconds change_of_clock(sys_seconds before, sys_seconds after, seconds offset) {
    while (after - before > seconds{1}) {
      const auto middle = before + (after - before) / 2;
      (local_time(middle).offset == offset ? before : after) = middle;
    }
    return after;
  }

  std::vector<const PriceRule*> suitable_;
  std::vector<seconds> edges_;  // of the day, sorted; the last is its end
  bool timeless_ = true;
};

std::int64_t lead_of(const Purchase& purchase) {
  return (purchase.windows.front().start - purchase.booked).count();
}

const DiscountRule* best_discount(const PriceRules& rules, const Purchase& purchase) {
  const auto node_seconds =
      static_cast<std::int64_t>(purchase.nodes) * static_cast<std::int64_t>(purchase.duration().count());
  const DiscountRule* best = nullptr;
  for (const auto& discount : rules.discounts) {
    const bool earned = purchase.duration() >= discount.min_duration &&
                        lead_of(purchase) >= discount.min_lead.count() &&
                        node_seconds >= discount.min_node_hours * 3600;
    if (earned && (best == nullptr || discount.percent > best->percent)) best = &discount;
  }
  return best;
}

// "2 d 1 h", "90 s"
std::string time_text(seconds time) {
  constexpr std::array<std::pair<seconds, const char*>, 4> kUnits{
      {{kDay, "d"}, {seconds{3600}, "h"}, {seconds{60}, "min"}, {seconds{1}, "s"}}};
  std::vector<std::string> parts;
  for (const auto& [length, unit] : kUnits) {
    if (time >= length) parts.push_back(fmt::format("{} {}", time / length, unit));
    time %= length;
  }
  return fmt::format("{}", fmt::join(parts, " "));
}

}  // namespace

bool DayHours::contains(seconds of_day) const {
  if (from < to) return from <= of_day && of_day < to;
  return of_day >= from || of_day < to;
}

bool PriceRule::suits(const NodeClass& kind) const {
  return (partitions.empty() || contains(partitions, kind.partition)) &&
         std::all_of(features.begin(), features.end(),
                     [&](const std::string& feature) { return contains(kind.features, feature); });
}

bool PriceRule::holds_at(int weekday, seconds of_day) const {
  return (days.none() || days.test(static_cast<std::size_t>(weekday))) && (!hours || hours->contains(of_day));
}

seconds Purchase::duration() const {
  seconds sum{};
  for (const auto& window : windows) sum += window.end - window.start;
  return sum;
}

std::vector<sys_seconds> PriceRules::changes(const NodeClass& kind, Window within) const {
  return Cutter(*this, kind).changes(within);
}

Price PriceRules::price(const Purchase& purchase) const {
  std::vector<Piece> pieces;
  const Cutter cutter(*this, purchase.kind);
  for (const auto& window : purchase.windows) cutter.cut(window, pieces);
  __int128 sum = 0;  // of one node, in fine rates x seconds
  std::vector<std::string> parts;
  for (const auto& piece : pieces) {
    const auto rate = fine_rate(*this, piece.rule, purchase.kind.gpus);
    sum += rate * piece.time.count();
    parts.push_back(fmt::format("{}{} at {}", time_text(piece.time),
                                piece.rule == nullptr ? "" : " " + piece.rule->name,
                                rounded(rate, kPercent).format()));
  }
  const auto* discount = best_discount(*this, purchase);
  sum *= kPercent - (discount == nullptr ? 0 : discount->percent);
  const auto time = std::max<std::int64_t>(1, purchase.duration().count());
  constexpr __int128 kFine = static_cast<__int128>(kPercent) * kPercent;
  Price price{rounded_cents(sum * static_cast<__int128>(purchase.nodes), kFine), currency,
              rounded(sum, kFine * time), fmt::format("{} a node and hour", fmt::join(parts, ", "))};
  if (price.cents == 0 && sum > 0 && purchase.nodes > 0) price.cents = 1;  // else many short plans were free
  if (discount != nullptr) price.breakdown += fmt::format(", -{} % {}", discount->percent, discount->name);
  return price;
}

}  // namespace stint::reservations
