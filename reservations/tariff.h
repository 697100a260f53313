// SPDX-License-Identifier: Apache-2.0
// What a plan costs by the rules of stint.conf: [price], [price NAME] and [discount NAME]. Every instant of a
// plan has one rate: that of the first rule, in the file's order, that holds there, else [price]'s own. The
// sum is exact and rounded once, to the nearest cent. Pure, but for the local time zone of the process, in
// which hours and days are meant; a change of the clock falls where it falls.
#pragma once

#include <bitset>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "reservations/money.h"
#include "reservations/planner.h"

namespace stint::reservations {

// What every node that a plan may get has at least: by this it is priced, so that the price is known before
// the nodes are.
struct NodeClass {
  std::string partition;
  std::vector<std::string> features;
  int gpus = 0;
};

// A part of the day, [from, to); over midnight where `to` is not after `from`.
struct DayHours {
  std::chrono::minutes from{};
  std::chrono::minutes to{};

  bool contains(std::chrono::seconds of_day) const;
  bool operator==(const DayHours&) const = default;
};

// Holds where all of its conditions do.
struct PriceRule {
  std::string name;
  std::vector<std::string> partitions;  // one of them; empty: any
  std::vector<std::string> features;    // all of them
  std::optional<DayHours> hours;
  std::bitset<7> days;                      // from Sunday on; none: every day
  std::optional<Rate> node_hour, gpu_hour;  // instead of [price]'s; the one that is missing stays
  int percent = 0;                          // more or, below zero, less than [price]'s rates

  bool suits(const NodeClass& kind) const;
  bool holds_at(int weekday, std::chrono::seconds of_day) const;
  bool depends_on_time() const { return hours.has_value() || days.any(); }
  bool operator==(const PriceRule&) const = default;
};

struct DiscountRule {
  std::string name;
  std::chrono::seconds min_duration{};  // of all segments together
  std::chrono::seconds min_lead{};      // from booking to the first start
  std::int64_t min_node_hours = 0;      // without spares
  int percent = 0;                      // 1 to 100: so much less
  bool operator==(const DiscountRule&) const = default;
};

// All that the price of a plan depends on.
struct Purchase {
  NodeClass kind;
  std::size_t nodes = 0;        // without spares
  std::vector<Window> windows;  // in order of time
  std::chrono::sys_seconds booked{};

  std::chrono::seconds duration() const;
};

struct PriceRules {
  Rate node_hour;
  Rate gpu_hour;  // of each GPU of a node, on top of the node's own rate
  std::string currency = "EUR";
  std::vector<PriceRule> rules;
  std::vector<DiscountRule> discounts;  // the best one counts

  // Throws Error where the amount cannot be written down.
  Price price(const Purchase& purchase) const;
  // In order of time: when another rule begins to hold for such nodes.
  std::vector<std::chrono::sys_seconds> changes(const NodeClass& kind, Window within) const;
  bool operator==(const PriceRules&) const = default;
};

}  // namespace stint::reservations
