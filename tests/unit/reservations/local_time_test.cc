// SPDX-License-Identifier: Apache-2.0
#include "reservations/local_time.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>

namespace stint::reservations {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using std::chrono::sys_seconds;

class LocalTimeTest : public testing::Test {
 protected:
  ~LocalTimeTest() override { set_zone("UTC"); }
  static void set_zone(const char* zone) {
    ::setenv("TZ", zone, 1);
    ::tzset();
  }
};

TEST_F(LocalTimeTest, FieldsAreThoseOfTheWallClock) {
  set_zone("CET-1CEST,M3.5.0,M10.5.0/3");
  const auto local = local_time(sys_seconds{seconds{1'795'392'000}});  // 2026-11-23T00:00:00Z, a monday
  EXPECT_EQ(local.year, 2026);
  EXPECT_EQ(local.month, 11);
  EXPECT_EQ(local.day, 23);
  EXPECT_EQ(local.weekday, 1);
  EXPECT_EQ(local.of_day, hours{1});
  EXPECT_EQ(local.offset, hours{1});
}

TEST_F(LocalTimeTest, MonthsMayLieBeyondTheYear) {
  set_zone("UTC");
  EXPECT_EQ(local_midnight(2026, 13, 1), local_midnight(2027, 1, 1));
  EXPECT_EQ(next_month(local_midnight(2026, 12, 5)), local_midnight(2027, 1, 1));
  EXPECT_EQ(month_text(local_midnight(2026, 12, 31)), "2026-12");
}

// Every day of three years begins when the day before ends, also where there is no midnight on some.
TEST_F(LocalTimeTest, DaysFollowEachOtherWithoutGapsInEveryZone) {
  for (const char* zone : {"UTC", "CET-1CEST,M3.5.0,M10.5.0/3", "<-04>4<-03>,M9.1.6/24,M4.1.6/24",
                           "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"}) {
    set_zone(zone);
    auto day = local_midnight(2026, 1, 1);
    for (int i = 0; i < 3 * 365; ++i) {
      const auto next = next_day(day);
      ASSERT_GT(next, day + hours{22}) << zone;
      ASSERT_LT(next, day + hours{26}) << zone;
      ASSERT_EQ(start_of_day(day), day) << zone;
      ASSERT_EQ(start_of_day(next - seconds{1}), day) << zone;
      ASSERT_NE(local_time(next).day, local_time(next - seconds{1}).day) << zone;
      day = next;
    }
    EXPECT_EQ(day, local_midnight(2028, 12, 31)) << zone;  // 2028 is a leap year
  }
}

}  // namespace
}  // namespace stint::reservations
