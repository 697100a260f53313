// SPDX-License-Identifier: Apache-2.0
#include "reservations/money_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/config.h"
#include "base/error.h"
#include "tests/unit/reservations/scratch.h"

namespace stint::reservations {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;

MoneyRules rules_from(const std::string& text) {
  const Scratch scratch;
  std::ofstream(scratch.file("stint.conf")) << text;
  return read_money_rules(load_config(scratch.file("stint.conf")).file);
}

std::string error_of(const std::string& text) {
  try {
    rules_from(text);
  } catch (const Error& error) {
    const std::string what = error.what();
    return what.substr(what.rfind('/') == std::string::npos ? 0 : what.rfind('/') + 1);
  }
  return "accepted";
}

TEST(MoneySettings, EveryKeyIsRead) {
  const auto rules = rules_from(
      "[price night]\nhours = 20:00-06:00\npercent = -30%\n"
      "[price]\nnode_hour = 2.50\ngpu_hour = 1\ncurrency = CHF\n"
      "[price big]\npartition = gpu, large\nfeatures = h100,ib\ndays = sat,sun\nnode_hour = 3\ngpu_hour = 2\n"
      "[discount long]\nmin_duration = 7d\nmin_lead = 2d\nmin_node_hours = 100\npercent = 10\n"
      "[refund]\nbefore = 24h:100%,1h:50,0:5%\nafter_start = 20%\n"
      "[budget]\namount = 500\n[budget physics]\namount = 20000.50\nperiod = quarter\n"
      "[budget ops]\namount = unlimited\n");
  EXPECT_EQ(rules.prices.node_hour.format(), "2.50");
  EXPECT_EQ(rules.prices.gpu_hour.format(), "1.00");
  EXPECT_EQ(rules.prices.currency, "CHF");
  ASSERT_EQ(rules.prices.rules.size(), 2U);
  const auto& night = rules.prices.rules[0];
  EXPECT_EQ(night.name, "night");
  EXPECT_EQ(night.percent, -30);
  EXPECT_EQ(night.hours->from, hours{20});
  EXPECT_EQ(night.hours->to, hours{6});
  const auto& big = rules.prices.rules[1];
  EXPECT_THAT(big.partitions, ElementsAre("gpu", "large"));
  EXPECT_THAT(big.features, ElementsAre("h100", "ib"));
  EXPECT_EQ(big.days.to_string(), "1000001");
  EXPECT_EQ(big.node_hour->format(), "3.00");
  EXPECT_EQ(big.gpu_hour->format(), "2.00");
  ASSERT_EQ(rules.prices.discounts.size(), 1U);
  EXPECT_EQ(rules.prices.discounts[0].min_duration, std::chrono::days{7});
  EXPECT_EQ(rules.prices.discounts[0].min_lead, std::chrono::days{2});
  EXPECT_EQ(rules.prices.discounts[0].min_node_hours, 100);
  EXPECT_EQ(rules.prices.discounts[0].percent, 10);
  ASSERT_EQ(rules.refund.steps.size(), 3U);
  EXPECT_EQ(rules.refund.steps[1].before, hours{1});
  EXPECT_EQ(rules.refund.steps[1].percent, 50);
  EXPECT_EQ(rules.refund.after_start, 20);
  EXPECT_EQ(rules.budgets.find("physics")->cents, 2'000'050);
  EXPECT_EQ(rules.budgets.find("physics")->period, Budget::Period::kQuarter);
  EXPECT_EQ(rules.budgets.find("maths")->cents, 50'000);
  EXPECT_FALSE(rules.budgets.find("ops"));
}

TEST(MoneySettings, WithoutAnyOfThemNothingCostsAnything) {
  const auto rules = rules_from("");
  EXPECT_EQ(rules.prices.node_hour.micros, 0);
  EXPECT_EQ(rules.prices.currency, "EUR");
  EXPECT_FALSE(rules.budgets.find("physics"));
}

TEST(MoneySettings, WrongValuesAreNamedWithTheirLine) {
  const std::vector<std::pair<std::string, std::string>> bad{{"[price]", "node_hour = cheap"},
                                                             {"[price]", "currency = ten letters"},
                                                             {"[price x]", "hours = 20-6"},
                                                             {"[price x]", "hours = 20:00-20:00"},
                                                             {"[price x]", "hours = 20:00-25:00"},
                                                             {"[price x]", "hours = 20:60-21:00"},
                                                             {"[price x]", "days = saturday"},
                                                             {"[price x]", "days = sat,,sun"},
                                                             {"[price x]", "percent = -101"},
                                                             {"[price x]", "percent = cheap"},
                                                             {"[discount x]", "percent = -10"},
                                                             {"[discount x]", "percent = 101"},
                                                             {"[discount x]", "min_duration = never"},
                                                             {"[discount x]", "min_node_hours = 0"},
                                                             {"[refund]", "before = 24h"},
                                                             {"[refund]", "before = 1h:50%,24h:100%"},
                                                             {"[refund]", "before = 1h:101%"},
                                                             {"[refund]", "after_start = -1"},
                                                             {"[budget]", "amount = much"},
                                                             {"[budget]", "amount = 1.005"},
                                                             {"[budget]", "period = week"},
                                                             {"[price x]", "colour = red"}};
  for (const auto& [section, line] : bad) {
    const std::string key = "'" + line.substr(0, line.find(' ')) + "'";
    EXPECT_THAT(error_of(section + "\n" + line + "\n"),
                testing::AllOf(testing::StartsWith("stint.conf:2: "), HasSubstr(key)));
  }
}

TEST(MoneySettings, ASectionThatSaysNothingIsRefused) {
  EXPECT_THAT(error_of("[price x]\ndays = sat\n"),
              HasSubstr("stint.conf:2: [price x] needs either percent, or"));
  EXPECT_THAT(error_of("[price x]\npercent = 5\nnode_hour = 1\n"), HasSubstr("needs either percent, or"));
  EXPECT_THAT(error_of("[price x]\n"), HasSubstr("stint.conf: [price x] needs either"));
  EXPECT_THAT(error_of("[discount x]\nmin_lead = 1d\n"), HasSubstr("[discount x] needs percent"));
  EXPECT_THAT(error_of("[budget x]\nperiod = year\n"), HasSubstr("[budget x] needs amount"));
  EXPECT_THAT(error_of("[price a b]\npercent = 5\n"), HasSubstr("needs a plain name"));
  EXPECT_THAT(error_of("[budget a/b]\namount = 5\n"), HasSubstr("needs an account's name"));
  EXPECT_THAT(error_of("[discount]\npercent = 5\n"), HasSubstr("unknown section [discount]"));
}

}  // namespace
}  // namespace stint::reservations
