// SPDX-License-Identifier: Apache-2.0
#include "reservations/money.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace stint::reservations {
namespace {

using std::chrono::hours;
using std::chrono::minutes;

TEST(Money, RateIsReadExactlyAndWrittenBack) {
  EXPECT_EQ(Rate::parse("2.5").micros, 2'500'000);
  EXPECT_EQ(Rate::parse("0.000001").micros, 1);
  EXPECT_EQ(Rate::parse("2.5").format(), "2.50");
  EXPECT_EQ(Rate::parse("0.000125").format(), "0.000125");
  EXPECT_EQ(Rate::parse("7").format(), "7.00");
}

TEST(Money, BadRatesAreNamed) {
  for (const char* text :
       {"", ".", "1.", ".5", "-1", "1e3", "1,5", "1.0000001", "1000000001", "99999999999", " 1"}) {
    EXPECT_THROW(Rate::parse(text), Error) << text;
  }
}

TEST(Money, PriceIsRateTimesNodesTimesHoursToTheNearestCent) {
  EXPECT_EQ(price_of(Rate::parse("2.50"), "EUR", 4, minutes{10}).amount(), "1.67");
  EXPECT_EQ(price_of(Rate::parse("0.01"), "EUR", 1, minutes{30}).amount(), "0.01");  // half a cent goes up
  EXPECT_EQ(price_of(Rate::parse("0.01"), "EUR", 1, minutes{29}).amount(), "0.00");
  EXPECT_EQ(price_of(Rate{}, "EUR", 4, hours{10}).amount(), "0.00");
}

TEST(Money, AmountsHaveTwoDecimals) {
  EXPECT_EQ(parse_amount("20"), 2'000);
  EXPECT_EQ(parse_amount("1.67"), 167);
  EXPECT_EQ(parse_amount("1.670"), 167);
  EXPECT_THROW(parse_amount("1.675"), Error);
  EXPECT_EQ(amount_text(-5), "-0.05");
  EXPECT_EQ(amount_text(12'345), "123.45");
}

TEST(Money, LargestPlanAtTheLargestRateIsExactOrRefused) {
  EXPECT_EQ(price_of(Rate::parse("1000000000"), "EUR", 1, hours{1}).amount(), "1000000000.00");
  EXPECT_THROW(price_of(Rate::parse("1000000000"), "EUR", 65'536, hours{24 * 3650}), Error);
}

}  // namespace
}  // namespace stint::reservations
