// SPDX-License-Identifier: Apache-2.0
#include "reservations/refund.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stint::reservations {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr sys_seconds kStart{seconds{1'795'392'000}};
const Price kPrice{1'001, "EUR", Rate{}, {}};
// four hours, of which three come later
const std::vector<Window> kWindows{{kStart, kStart + hours{1}}, {kStart + hours{9}, kStart + hours{12}}};

TEST(Refund, WithoutARuleOfTheSiteAllComesBackBeforeTheStartAndNothingAfter) {
  EXPECT_EQ(refund_of({}, kPrice, kWindows, kStart - seconds{1}).cents, 1'001);
  EXPECT_EQ(refund_of({}, kPrice, kWindows, kStart).cents, 0);
}

TEST(Refund, TheLongestTimeThatIsKeptCounts) {
  const RefundRule rule{{{hours{24}, 100}, {hours{1}, 50}}, 0};
  EXPECT_EQ(refund_of(rule, kPrice, kWindows, kStart - hours{24}).cents, 1'001);
  const auto half = refund_of(rule, kPrice, kWindows, kStart - hours{24} + seconds{1});
  EXPECT_EQ(half.cents, 500);
  EXPECT_EQ(half.why, "50 %: 01:00:00 or more before its start");
  const auto none = refund_of(rule, kPrice, kWindows, kStart - hours{1} + seconds{1});
  EXPECT_EQ(none.cents, 0);
  EXPECT_EQ(none.why, "0 %: less than 01:00:00 before its start");
}

TEST(Refund, OfEveryTimeThereIsAPercentage) {
  const RefundRule rule{{{hours{24}, 100}, {hours{1}, 50}}, 20};
  EXPECT_EQ(rule.percent_at(hours{25}), 100);
  EXPECT_EQ(rule.percent_at(hours{1}), 50);
  EXPECT_EQ(rule.percent_at(seconds{1}), 0);
  EXPECT_EQ(rule.percent_at(seconds{0}), 20);
}

TEST(Refund, AfterTheStartTheTimeThatIsLeftCounts) {
  const RefundRule rule{{{seconds{}, 100}}, 50};
  EXPECT_EQ(refund_of(rule, kPrice, kWindows, kStart).cents, 500);
  EXPECT_EQ(refund_of(rule, kPrice, kWindows, kStart + hours{5}).cents, 375);
  EXPECT_EQ(refund_of(rule, kPrice, kWindows, kStart + hours{10}).cents, 250);
  EXPECT_EQ(refund_of(rule, kPrice, kWindows, kStart + hours{12}).cents, 0);
  EXPECT_EQ(price_of_rest(kPrice, kWindows, kStart + hours{5}), 750);
}

TEST(Refund, WhatIsPastStaysPaidWhateverComesAfter) {
  const Price later = settled(kPrice, kWindows, kStart + hours{10});  // half of the four hours is over
  EXPECT_EQ(later.kept_cents, 501);
  EXPECT_EQ(price_of_rest(later, kWindows, kStart + hours{10}), 500);
  EXPECT_EQ(price_of_rest(later, kWindows, kStart + hours{11}), 250);
  EXPECT_EQ(settled(later, kWindows, kStart + hours{11}).kept_cents, 751);
  EXPECT_EQ(settled(kPrice, kWindows, kStart - hours{1}).kept_cents, 0);
  Price kept = kPrice;
  kept.kept_cents = 101;  // by an earlier shrink
  EXPECT_EQ(refund_of({}, kept, kWindows, kStart - hours{1}).cents, 900);
}

}  // namespace
}  // namespace stint::reservations
