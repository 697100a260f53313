// SPDX-License-Identifier: Apache-2.0
#include "reservations/tariff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <random>

#include "base/error.h"

namespace stint::reservations {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::sys_seconds;

// As tzset(3) reads them, so that no time zone files are needed.
constexpr char kBerlin[] = "CET-1CEST,M3.5.0,M10.5.0/3";
constexpr char kLordHowe[] = "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0";
constexpr char kSantiago[] = "<-04>4<-03>,M9.1.6/24,M4.1.6/24";
constexpr sys_seconds kMonday{seconds{1'795'392'000}};  // 2026-11-23T00:00:00Z

void set_zone(const char* zone) {
  ::setenv("TZ", zone, 1);
  ::tzset();
}

class TariffTest : public testing::Test {
 protected:
  TariffTest() {
    set_zone("UTC");
    rules_.node_hour = Rate::parse("0.50");
  }
  ~TariffTest() override { set_zone("UTC"); }

  PriceRule& add_rule(const std::string& name, const char* node_hour) {
    rules_.rules.emplace_back();
    rules_.rules.back().name = name;
    rules_.rules.back().node_hour = Rate::parse(node_hour);
    return rules_.rules.back();
  }
  PriceRule& add_night() {
    auto& night = add_rule("night", "0.30");
    night.hours = {hours{20}, hours{6}};
    return night;
  }
  Price price(std::size_t nodes, hours from, hours to) const {
    return rules_.price({kind_, nodes, {{kMonday + from, kMonday + to}}, kMonday});
  }

  PriceRules rules_;
  NodeClass kind_{"main", {}, 0};
};

TEST_F(TariffTest, WithoutRulesItIsRateTimesNodesTimesHours) {
  const auto flat = rules_.price({kind_, 4, {{kMonday, kMonday + minutes{10}}}, kMonday});
  EXPECT_EQ(flat.cents, price_of(Rate::parse("0.50"), "EUR", 4, minutes{10}).cents);
  EXPECT_EQ(flat.rate.format(), "0.50");
  EXPECT_EQ(flat.breakdown, "10 min at 0.50 a node and hour");
}

TEST_F(TariffTest, APlanIsCutWhereARuleBegins) {
  add_night();
  const auto evening = price(2, hours{18}, hours{21});
  EXPECT_EQ(evening.amount(), "2.60");
  EXPECT_EQ(evening.breakdown, "2 h at 0.50, 1 h night at 0.30 a node and hour");
  EXPECT_EQ(evening.rate.format(), "0.433333");
}

TEST_F(TariffTest, TheFirstRuleThatHoldsWins) {
  add_night();
  add_rule("always", "9");
  EXPECT_EQ(price(1, hours{19}, hours{21}).amount(), "9.30");
  std::swap(rules_.rules[0], rules_.rules[1]);
  EXPECT_EQ(price(1, hours{19}, hours{21}).amount(), "18.00");
}

TEST_F(TariffTest, ADayIsTheDayOfTheInstantNotOfTheEvening) {
  add_night().days.set(1);  // monday
  EXPECT_EQ(price(1, hours{0}, hours{6}).amount(), "1.80");
  EXPECT_EQ(price(1, hours{20}, hours{24}).amount(), "1.20");
  EXPECT_EQ(price(1, hours{24}, hours{30}).amount(), "3.00");  // tuesday
}

TEST_F(TariffTest, RulesOfOtherPartitionsAndFeaturesDoNotHold) {
  auto& rule = add_rule("big", "7");
  rule.partitions = {"gpu", "large"};
  rule.features = {"h100", "ib"};
  EXPECT_EQ(price(1, hours{0}, hours{1}).amount(), "0.50");
  kind_ = {"large", {"h100"}, 0};
  EXPECT_EQ(price(1, hours{0}, hours{1}).amount(), "0.50");
  kind_.features = {"ib", "red", "h100"};
  EXPECT_EQ(price(1, hours{0}, hours{1}).amount(), "7.00");
}

TEST_F(TariffTest, GpusAddUpAndARuleReplacesOnlyWhatItNames) {
  rules_.gpu_hour = Rate::parse("2");
  kind_.gpus = 8;
  EXPECT_EQ(price(1, hours{0}, hours{1}).amount(), "16.50");
  add_rule("cheap", "0.10");
  EXPECT_EQ(price(1, hours{0}, hours{1}).amount(), "16.10");
  rules_.rules[0].node_hour = std::nullopt;
  rules_.rules[0].percent = -30;
  EXPECT_EQ(price(1, hours{0}, hours{1}).amount(), "11.55");
}

TEST_F(TariffTest, TheBestDiscountCountsAndIsOfTheWholePlan) {
  rules_.discounts = {
      {"long", hours{4}, {}, 0, 10}, {"early", {}, hours{48}, 0, 20}, {"big", {}, {}, 100, 50}};
  EXPECT_EQ(price(10, hours{1}, hours{4}).amount(), "15.00");
  EXPECT_EQ(price(10, hours{1}, hours{5}).amount(), "18.00");
  EXPECT_EQ(price(10, hours{48}, hours{52}).amount(), "16.00");
  EXPECT_EQ(price(25, hours{1}, hours{5}).amount(), "25.00");
  // four hours in two segments
  const auto split = rules_.price(
      {kind_, 10, {{kMonday, kMonday + hours{2}}, {kMonday + hours{9}, kMonday + hours{11}}}, kMonday});
  EXPECT_EQ(split.amount(), "18.00");
  EXPECT_EQ(split.breakdown, "4 h at 0.50 a node and hour, -10 % long");
  EXPECT_EQ(split.rate.format(), "0.45");
}

TEST_F(TariffTest, RoundingHappensOnceForAllSegments) {
  rules_.node_hour = Rate::parse("0.01");
  std::vector<Window> windows;
  for (int i = 0; i < 10; ++i)
    windows.push_back({kMonday + hours{i}, kMonday + hours{i} + minutes{24}});  // 0.4 cents each
  EXPECT_EQ(rules_.price({kind_, 1, windows, kMonday}).amount(), "0.04");
}

TEST_F(TariffTest, WhenTheClockChangesANightIsAnHourLongerOrShorter) {
  set_zone(kBerlin);
  add_night();
  const sys_seconds autumn{seconds{1'792'864'800}};  // 2026-10-24T20:00 there; the clock goes back at 03:00
  EXPECT_EQ(rules_.price({kind_, 1, {{autumn, autumn + hours{12}}}, autumn}).breakdown,
            "11 h night at 0.30, 1 h at 0.50 a node and hour");
  const sys_seconds spring{seconds{1'774'724'400}};  // 2026-03-28T20:00 there; the clock goes on at 02:00
  EXPECT_EQ(rules_.price({kind_, 1, {{spring, spring + hours{12}}}, spring}).breakdown,
            "9 h night at 0.30, 3 h at 0.50 a node and hour");
}

TEST_F(TariffTest, APriceThatIsTooLargeIsRefused) {
  rules_.node_hour = Rate::parse("1000000000");
  EXPECT_THROW(rules_.price({kind_, 65'536, {{kMonday, kMonday + hours{24 * 3650}}}, kMonday}), Error);
}

// Minute by minute, as one would do it by hand.
struct Model {
  static bool in_hours(const DayHours& part, int minute) {
    const auto from = static_cast<int>(part.from.count());
    const auto to = static_cast<int>(part.to.count());
    for (int m = from;; m = (m + 1) % 1440) {
      if (m == to % 1440 && !(to == 1440 && m == from)) return false;
      if (m == minute) return true;
    }
  }
  static bool holds(const PriceRule& rule, const NodeClass& kind, const std::tm& local) {
    for (const auto& feature : rule.features) {
      bool has = false;
      for (const auto& mine : kind.features) has = has || mine == feature;
      if (!has) return false;
    }
    bool here = rule.partitions.empty();
    for (const auto& partition : rule.partitions) here = here || partition == kind.partition;
    if (!here || (rule.days.any() && !rule.days.test(static_cast<std::size_t>(local.tm_wday)))) return false;
    return !rule.hours || in_hours(*rule.hours, local.tm_hour * 60 + local.tm_min);
  }
  // In hundredths of micros.
  static __int128 rate_at(const PriceRules& rules, const NodeClass& kind, sys_seconds time) {
    const std::time_t raw = time.time_since_epoch().count();
    std::tm local{};
    ::localtime_r(&raw, &local);
    __int128 node = rules.node_hour.micros;
    __int128 gpu = rules.gpu_hour.micros;
    int percent = 100;
    for (const auto& rule : rules.rules) {
      if (!holds(rule, kind, local)) continue;
      if (rule.node_hour) node = rule.node_hour->micros;
      if (rule.gpu_hour) gpu = rule.gpu_hour->micros;
      percent += rule.percent;
      break;
    }
    return (node + gpu * kind.gpus) * percent;
  }
  static std::int64_t cents(const PriceRules& rules, const Purchase& purchase) {
    __int128 sum = 0;
    std::int64_t length = 0;
    for (const auto& window : purchase.windows) {
      for (auto time = window.start; time < window.end; time += minutes{1}, ++length)
        sum += rate_at(rules, purchase.kind, time);
    }
    int best = 0;
    for (const auto& discount : rules.discounts) {
      const bool lead = purchase.windows.front().start - purchase.booked >= discount.min_lead;
      const bool size = static_cast<std::int64_t>(purchase.nodes) * length >= discount.min_node_hours * 60;
      if (lead && size && minutes{length} >= discount.min_duration) best = std::max(best, discount.percent);
    }
    // micros/100 x minutes x nodes x percent -> cents
    const __int128 divisor = static_cast<__int128>(100) * 60 * 10'000 * 100;
    return static_cast<std::int64_t>(
        (sum * static_cast<__int128>(purchase.nodes) * (100 - best) + divisor / 2) / divisor);
  }
};

class Dice {
 public:
  explicit Dice(unsigned seed) : engine_(seed) {}
  int up_to(int most) { return std::uniform_int_distribution<int>(0, most)(engine_); }
  bool often() { return up_to(1) == 0; }

  PriceRule rule(int number) {
    PriceRule rule;
    rule.name = "r" + std::to_string(number);
    if (up_to(4) == 0) rule.partitions = {"night"};
    if (up_to(4) == 0) rule.features = {"ib"};
    if (up_to(3) > 0) {
      rule.hours = {minutes{up_to(1'439)}, minutes{1 + up_to(1'439)}};
      if (rule.hours->from == rule.hours->to) rule.hours->to += minutes{rule.hours->to < hours{24} ? 1 : -1};
    }
    if (often()) rule.days = std::bitset<7>(static_cast<unsigned>(up_to(127)));
    if (often()) {
      rule.percent = up_to(200) - 100;
    } else {
      rule.node_hour = Rate{up_to(5'000'000)};
      if (often()) rule.gpu_hour = Rate{up_to(3'000'000)};
    }
    return rule;
  }
  PriceRules rules() {
    PriceRules rules;
    rules.node_hour = Rate{up_to(5'000'000)};
    rules.gpu_hour = Rate{up_to(3'000'000)};
    for (int i = up_to(4); i > 0; --i) rules.rules.push_back(rule(i));
    for (int i = up_to(3); i > 0; --i)
      rules.discounts.push_back({"d", hours{up_to(72)}, hours{up_to(48)}, up_to(500), 1 + up_to(99)});
    return rules;
  }
  // Around a change of the clock.
  Purchase purchase(sys_seconds around) {
    Purchase purchase;
    purchase.kind = {often() ? "main" : "night", {}, up_to(8)};
    if (often()) purchase.kind.features = {"ib"};
    purchase.nodes = static_cast<std::size_t>(1 + up_to(20));
    auto time = around - hours{72} + minutes{up_to(4'000)};
    purchase.booked = time - minutes{up_to(4'000)};
    for (int i = up_to(2); i >= 0; --i) {
      const auto end = time + minutes{1 + up_to(4'000)};
      purchase.windows.push_back({time, end});
      time = end + minutes{up_to(2'000)};
    }
    return purchase;
  }

 private:
  std::mt19937 engine_;
};

TEST_F(TariffTest, RandomRulesCostWhatTheyCostMinuteByMinute) {
  // The clock changes in Berlin, on Lord Howe Island (by half an hour), in Santiago (at midnight), never in
  // UTC.
  const std::vector<std::pair<const char*, std::int64_t>> zones{{kBerlin, 1'792'890'000},
                                                                {kBerlin, 1'774'746'000},
                                                                {kLordHowe, 1'791'039'600},
                                                                {kSantiago, 1'788'667'200},
                                                                {"UTC", 1'788'667'200}};
  for (unsigned seed = 0; seed < 600; ++seed) {
    const auto& [zone, around] = zones[seed % zones.size()];
    set_zone(zone);
    Dice dice(seed);
    const auto rules = dice.rules();
    const auto purchase = dice.purchase(sys_seconds{seconds{around}});
    ASSERT_EQ(rules.price(purchase).cents, Model::cents(rules, purchase))
        << "seed " << seed << " in " << zone;
  }
}

}  // namespace
}  // namespace stint::reservations
