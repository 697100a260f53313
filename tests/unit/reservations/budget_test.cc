// SPDX-License-Identifier: Apache-2.0
#include "reservations/budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>

namespace stint::reservations {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr sys_seconds kNovember{seconds{1'793'491'200}};  // 2026-11-01T00:00:00Z

class BudgetTest : public testing::Test {
 protected:
  BudgetTest() { set_zone("UTC"); }
  ~BudgetTest() override { set_zone("UTC"); }
  static void set_zone(const char* zone) {
    ::setenv("TZ", zone, 1);
    ::tzset();
  }
};

TEST_F(BudgetTest, PeriodsAreThoseOfTheCalendar) {
  const auto month = period_around(Budget::Period::kMonth, kNovember + hours{5});
  EXPECT_EQ(month.start, kNovember);
  EXPECT_EQ(month.end - month.start, std::chrono::days{30});
  const auto quarter = period_around(Budget::Period::kQuarter, kNovember);
  EXPECT_EQ(quarter.end - quarter.start, std::chrono::days{92});
  EXPECT_EQ(period_around(Budget::Period::kQuarter, quarter.end - seconds{1}).start, quarter.start);
  EXPECT_EQ(period_around(Budget::Period::kQuarter, quarter.end).start, quarter.end);
  const auto year = period_around(Budget::Period::kYear, kNovember);
  EXPECT_EQ(year.end - year.start, std::chrono::days{365});
  EXPECT_EQ(period_text(Budget::Period::kMonth, kNovember), "2026-11");
  EXPECT_EQ(period_text(Budget::Period::kQuarter, kNovember), "2026 Q4");
  EXPECT_EQ(period_text(Budget::Period::kYear, kNovember), "2026");
}

TEST_F(BudgetTest, AMonthBeginsAtLocalMidnight) {
  set_zone("CET-1CEST,M3.5.0,M10.5.0/3");
  EXPECT_EQ(period_text(Budget::Period::kMonth, kNovember - seconds{3'601}), "2026-10");
  const auto month = period_around(Budget::Period::kMonth, kNovember - seconds{3'600});
  EXPECT_EQ(month.start, kNovember - seconds{3'600});
  const auto october = period_around(Budget::Period::kMonth, kNovember - seconds{3'601});
  EXPECT_EQ(october.end - october.start, std::chrono::days{31} + hours{1});  // the clock goes back
}

TEST_F(BudgetTest, AnAccountHasItsOwnBudgetElseThatOfTheOthers) {
  BudgetRules rules;
  EXPECT_FALSE(rules.find("physics"));
  rules.of_account["physics"] = {2'000, false, Budget::Period::kYear};
  EXPECT_EQ(rules.find("physics")->cents, 2'000);
  EXPECT_FALSE(rules.find("maths"));
  rules.of_others = Budget{500, false, Budget::Period::kMonth};
  rules.of_account["ops"].unlimited = true;
  EXPECT_EQ(rules.find("physics")->cents, 2'000);
  EXPECT_EQ(rules.find("maths")->cents, 500);
  EXPECT_FALSE(rules.find("ops"));
}

TEST_F(BudgetTest, AccountsHavePlainNames) {
  for (const char* name : {"physics", "2026_ml", "a.b-c"}) EXPECT_TRUE(valid_account(name)) << name;
  for (const char* name : {"", "-x", "a b", "a,b", "a\n", "ü"}) EXPECT_FALSE(valid_account(name)) << name;
  EXPECT_FALSE(valid_account(std::string(41, 'a')));
}

}  // namespace
}  // namespace stint::reservations
