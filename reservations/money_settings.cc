// SPDX-License-Identifier: Apache-2.0
#include "reservations/money_settings.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/text.h"

namespace stint::reservations {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::int64_t kMaxRise = 10'000;  // percent
constexpr std::int64_t kMaxNodeHours = 1'000'000'000;
constexpr std::array<const char*, 7> kDays{"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

using Keys = std::map<std::string, std::function<void(const std::string&)>>;

std::vector<std::string> names_in(const std::string& text) {
  auto names = split(text, ',');
  for (const auto& name : names) {
    if (name.empty()) fail("'{}' has an empty name; write a,b,c", text);
  }
  return names;
}

std::string currency_of(const std::string& text) {
  const bool plain =
      !text.empty() && text.size() <= 8 &&
      std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > ' ' && c < 0x7f; });
  if (!plain) fail("'{}' is no currency; write 1 to 8 plain characters, e.g. EUR", text);
  return text;
}

// "-30", "25", with or without a "%" behind it
int percent_of(std::string_view text, std::int64_t min, std::int64_t max) {
  auto number = trim(text);
  if (number.ends_with('%')) number = trim(number.substr(0, number.size() - 1));
  return static_cast<int>(parse_integer(number, min, max));
}

// "20:00", "24:00"
minutes clock_time(std::string_view text) {
  const auto digit = [&](std::size_t i) { return text[i] >= '0' && text[i] <= '9'; };
  if (text.size() != 5 || text[2] != ':' || !digit(0) || !digit(1) || !digit(3) || !digit(4))
    fail("'{}' is no time of day; write 20:00", text);
  const minutes time{((text[0] - '0') * 10 + text[1] - '0') * 60 + (text[3] - '0') * 10 + text[4] - '0'};
  if (text[3] > '5' || time > std::chrono::days{1}) fail("'{}' is no time of day; write 20:00", text);
  return time;
}

DayHours hours_of(const std::string& text) {
  const auto ends = split(text, '-');
  if (ends.size() != 2) fail("'{}' are no hours; write 20:00-06:00", text);
  const DayHours hours{clock_time(ends[0]), clock_time(ends[1])};
  if (hours.from == hours.to)
    fail("'{}' is no time at all; leave hours out where all of the day is meant", text);
  return hours;
}

std::bitset<7> days_of(const std::string& text) {
  std::bitset<7> days;
  for (const auto& name : names_in(text)) {
    const auto* const found = std::find(kDays.begin(), kDays.end(), name);
    if (found == kDays.end()) fail("'{}' is no day; write sun, mon, tue, wed, thu, fri, sat", name);
    days.set(static_cast<std::size_t>(found - kDays.begin()));
  }
  return days;
}

std::vector<RefundRule::Step> steps_of(const std::string& text) {
  std::vector<RefundRule::Step> steps;
  for (const auto& part : split(text, ',')) {
    const auto halves = split(part, ':');
    if (halves.size() != 2) fail("'{}' is no step; write 24h:100%,1h:50%", part);
    const seconds before = halves[0] == "0" ? seconds{} : parse_duration(halves[0]);
    steps.push_back({before, percent_of(halves[1], 0, 100)});
  }
  for (std::size_t i = 1; i < steps.size(); ++i) {
    if (steps[i].before >= steps[i - 1].before) fail("'{}': the longest time comes first", text);
  }
  return steps;
}

Budget::Period period_of(const std::string& text) {
  if (text == "month") return Budget::Period::kMonth;
  if (text == "quarter") return Budget::Period::kQuarter;
  if (text == "year") return Budget::Period::kYear;
  fail("'{}' is none of month, quarter, year", text);
}

Keys keys_of(PriceRules& prices) {
  return {{"node_hour", [&](const std::string& v) { prices.node_hour = Rate::parse(v); }},
          {"gpu_hour", [&](const std::string& v) { prices.gpu_hour = Rate::parse(v); }},
          {"currency", [&](const std::string& v) { prices.currency = currency_of(v); }}};
}

Keys keys_of(PriceRule& rule) {
  return {{"partition", [&](const std::string& v) { rule.partitions = names_in(v); }},
          {"features", [&](const std::string& v) { rule.features = names_in(v); }},
          {"hours", [&](const std::string& v) { rule.hours = hours_of(v); }},
          {"days", [&](const std::string& v) { rule.days = days_of(v); }},
          {"node_hour", [&](const std::string& v) { rule.node_hour = Rate::parse(v); }},
          {"gpu_hour", [&](const std::string& v) { rule.gpu_hour = Rate::parse(v); }},
          {"percent", [&](const std::string& v) { rule.percent = percent_of(v, -100, kMaxRise); }}};
}

Keys keys_of(DiscountRule& rule) {
  return {{"min_duration", [&](const std::string& v) { rule.min_duration = parse_duration(v); }},
          {"min_lead", [&](const std::string& v) { rule.min_lead = parse_duration(v); }},
          {"min_node_hours",
           [&](const std::string& v) { rule.min_node_hours = parse_integer(v, 1, kMaxNodeHours); }},
          {"percent", [&](const std::string& v) { rule.percent = percent_of(v, 1, 100); }}};
}

Keys keys_of(RefundRule& rule) {
  return {{"before", [&](const std::string& v) { rule.steps = steps_of(v); }},
          {"after_start", [&](const std::string& v) { rule.after_start = percent_of(v, 0, 100); }}};
}

Keys keys_of(Budget& budget) {
  return {{"amount",
           [&](const std::string& v) {
             budget.unlimited = v == "unlimited";
             budget.cents = budget.unlimited ? 0 : parse_amount(v);
           }},
          {"period", [&](const std::string& v) { budget.period = period_of(v); }},
          {"contacts", [&](const std::string& v) { budget.contacts = names_in(v); }}};
}

class Reader {
 public:
  explicit Reader(const IniFile& file) : file_(file) {}

  MoneyRules read() {
    for (const auto& section : file_.sections()) {
      const auto space = section.find(' ');
      const std::string kind = section.substr(0, space);
      const std::string name = space == std::string::npos ? "" : std::string(trim(section.substr(space)));
      if (kind == "price") read_price(section, name);
      if (kind == "discount") read_discount(section, name);
      if (kind == "refund") set(section, keys_of(rules_.refund));
      if (kind == "budget") read_budget(section, name);
    }
    return std::move(rules_);
  }

 private:
  void set(const std::string& section, const Keys& keys) const {
    for (const auto& entry : file_.entries()) {
      if (entry.section != section) continue;
      try {
        keys.at(entry.key)(entry.value);
      } catch (const Error& error) {
        fail("{}'{}': {}", file_.where(entry), entry.key, error.what());
      }
    }
  }

  bool has(const std::string& section, const char* key) const { return file_.find(section, key) != nullptr; }

  // Where the section begins, as near as it is known.
  [[noreturn]] void fail_at(const std::string& section, const std::string& what) const {
    for (const auto& entry : file_.entries()) {
      if (entry.section == section) fail("{}[{}] {}", file_.where(entry), section, what);
    }
    fail("{}: [{}] {}", file_.name(), section, what);
  }

  void check_name(const std::string& section, const std::string& name) const {
    if (!valid_name(name)) fail_at(section, "needs a plain name: a letter, then letters, digits, '_' or '-'");
  }

  void read_price(const std::string& section, const std::string& name) {
    if (section == "price") return set(section, keys_of(rules_.prices));
    check_name(section, name);
    PriceRule rule;
    rule.name = name;
    set(section, keys_of(rule));
    const bool replaces = has(section, "node_hour") || has(section, "gpu_hour");
    if (replaces == has(section, "percent"))
      fail_at(section, "needs either percent, or node_hour and gpu_hour or one of them");
    rules_.prices.rules.push_back(rule);
  }

  void read_discount(const std::string& section, const std::string& name) {
    check_name(section, name);
    DiscountRule rule;
    rule.name = name;
    set(section, keys_of(rule));
    if (!has(section, "percent")) fail_at(section, "needs percent: so much less is paid");
    rules_.prices.discounts.push_back(rule);
  }

  void read_budget(const std::string& section, const std::string& name) {
    Budget budget;
    set(section, keys_of(budget));
    if (!has(section, "amount")) fail_at(section, "needs amount: what may be spent, or unlimited");
    if (section == "budget") {
      rules_.budgets.of_others = budget;
      return;
    }
    if (!valid_account(name)) fail_at(section, "needs an account's name: letters, digits, '_', '-', '.'");
    rules_.budgets.of_account[name] = budget;
  }

  const IniFile& file_;
  MoneyRules rules_;
};

}  // namespace

MoneyRules read_money_rules(const IniFile& file) {
  return Reader(file).read();
}

}  // namespace stint::reservations
