// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <gmock/gmock.h>
#include <stdlib.h>
#include <time.h>

#include <random>

#include "base/error.h"
#include "tests/unit/base/temporary.h"

namespace stint {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::HasSubstr;

// A zone with clock changes for the length of one test.
class Zone {
 public:
  explicit Zone(const char* name) : before_(::getenv("TZ") ? ::getenv("TZ") : "") { set(name); }
  ~Zone() { set(before_.c_str()); }

 private:
  static void set(const char* name) {
    *name ? ::setenv("TZ", name, 1) : ::unsetenv("TZ");
    ::tzset();
  }
  std::string before_;
};

constexpr char kBerlin[] = "CET-1CEST,M3.5.0,M10.5.0/3";

TEST(Duration, ReadsUnitsAndSlurmForms) {
  const std::vector<std::pair<const char*, int>> cases = {
      {"90s", 90},
      {"15m", 900},
      {"2h", 7200},
      {"1d", 86400},
      {"1h30m", 5400},
      {"1d2h3m4s", 93784},
      {"10", 600},
      {"10:30", 630},
      {"01:02:03", 3723},
      {"2-12", 216000},
      {"2-12:30", 217800},
      {"2-12:30:15", 217815},
      {" 5m ", 300},
      {"3650d", 315360000},
      {"100:00:00", 360000},
      {"2hours", 7200},
      {"1week", 604800},
      {"1h30min", 5400},
      {"1day12hours", 129600},
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(parse_duration(text), seconds(expected)) << text;
}

TEST(Duration, RefusesWhatIsNone) {
  for (const char* text :
       {"",        " ",       "m",   "1x",   "1m1h", "1m1m",    "-5m",     "1.5h", "1:60",
        "1:2:3:4", "1-",      "-",   "1h30", "1hs",  "2hourss", "1h1hour", "s",    "999999999999m",
        "1 h",     "5 m 3 s", "now", "1e3s"}) {
    EXPECT_THAT(error_of([&] { parse_duration(text); }), HasSubstr("is no duration")) << text;
  }
  for (const char* text : {"0", "0s", "0:00", "0d", "3651d", "999999999m"}) {
    EXPECT_THAT(error_of([&] { parse_duration(text); }), HasSubstr("out of range")) << text;
  }
}

TEST(Duration, AHugeWrongOneIsNotRepeatedInFull) {
  EXPECT_LT(error_of([] { parse_duration(std::string(5000, 'a')); }).size(), 200U);
}

TEST(Duration, FormatIsReadBack) {
  EXPECT_EQ(format_duration(seconds(23400)), "06:30:00");
  EXPECT_EQ(format_duration(seconds(108000)), "1-06:00:00");
  EXPECT_EQ(format_duration(seconds(0)), "00:00:00");
  EXPECT_EQ(format_duration(seconds(-61)), "-00:01:01");
  std::mt19937 random(3);
  for (int i = 0; i < 1000; ++i) {
    const seconds some(1 + random() % 315360000);
    EXPECT_EQ(parse_duration(format_duration(some)), some);
  }
}

TEST(Time, ReadsNowClockAndCalendar) {
  const Zone zone(kBerlin);
  const sys_seconds now(seconds(1795444444));  // 2026-11-23T15:34:04 in Berlin
  ASSERT_EQ(format_time(now), "2026-11-23T15:34:04");
  EXPECT_EQ(parse_time("now", now), now);
  EXPECT_EQ(parse_time("now+2h", now), now + seconds(7200));
  EXPECT_EQ(parse_time("now + 2hours", now), now + seconds(7200));
  EXPECT_EQ(format_time(parse_time("18:00", now)), "2026-11-23T18:00:00");
  EXPECT_EQ(format_time(parse_time("15:00", now)), "2026-11-24T15:00:00");
  EXPECT_EQ(format_time(parse_time("15:34:04", now)), "2026-11-23T15:34:04");
  EXPECT_EQ(format_time(parse_time("2027-07-01T06:30", now)), "2027-07-01T06:30:00");
  EXPECT_EQ(format_time(parse_time("2028-02-29T00:00:59", now)), "2028-02-29T00:00:59");
}

TEST(Time, ReadsTheZoneOfAnIsoTime) {
  const Zone zone(kBerlin);
  const sys_seconds now(seconds(1795444444));
  EXPECT_EQ(parse_time("2026-11-23T14:34:04Z", now), now);
  EXPECT_EQ(parse_time("2026-11-23T15:34:04+01:00", now), now);
  EXPECT_EQ(parse_time("2026-11-23 09:04:04-0530", now), now);
  EXPECT_EQ(parse_time("2027-03-28T02:30Z", now), parse_time("2027-03-28T04:30", now));
}

TEST(Time, ReadsDaysByTheirNames) {
  const Zone zone(kBerlin);
  const sys_seconds now(seconds(1795444444));  // Monday 2026-11-23T15:34:04 in Berlin
  const std::pair<const char*, const char*> cases[] = {
      {"friday 18:00", "2026-11-27T18:00:00"}, {"Fri", "2026-11-27T00:00:00"},
      {"monday 16:00", "2026-11-23T16:00:00"}, {"monday 15:00", "2026-11-30T15:00:00"},
      {"today 08:00", "2026-11-23T08:00:00"},  {"tomorrow 9:30", "2026-11-24T09:30:00"},
      {"2026-11-28", "2026-11-28T00:00:00"},   {"2026-11-28 7:00", "2026-11-28T07:00:00"},
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(format_time(parse_time(text, now)), expected) << text;
}

TEST(Time, SaysThatTheClocksSkipATime) {
  const Zone zone(kBerlin);
  const sys_seconds saturday = parse_time("2027-03-27T12:00", sys_seconds{});
  for (const char* text : {"2027-03-28T02:30", "sunday 02:30", "02:30"}) {
    EXPECT_EQ(error_of([&] { parse_time(text, saturday); }),
              "2027-03-28T02:30 does not exist: the clocks are put forward over it; 2027-03-28T03:30 does");
  }
  const sys_seconds sunday = parse_time("2027-03-28T12:00", saturday);
  EXPECT_EQ(format_time(parse_time("02:30", sunday)), "2027-03-29T02:30:00");
  EXPECT_EQ(format_time(parse_time("sunday 02:30", sunday)), "2027-04-04T02:30:00");
}

TEST(Time, RefusesWhatTheCalendarOrTheClockChangeDoesNotKnow) {
  const Zone zone(kBerlin);
  const sys_seconds now(seconds(1795444444));
  for (const char* text : {"",
                           "2026-02-29T00:00",
                           "2026-13-01T00:00",
                           "2026-11-31T10:00",
                           "24:00",
                           "12:60",
                           "noon",
                           "now+",
                           "now+0",
                           "now-1h",
                           "friday 25:00",
                           "fritag",
                           "tomorrow+1h",
                           "2026-11-23T",
                           "2026-11-23TZ",
                           "2026-11-23T10:00+1",
                           "2026-11-23T10:00+15:00",
                           "2026-02-30T10:00Z",
                           "now2h",
                           "26-11-23T10:00",
                           "2027-03-28T02:30",
                           "1:2:3:4"}) {
    EXPECT_NE(error_of([&] { parse_time(text, now); }), "no error") << text;
  }
}

TEST(Number, WholeNumbersAreCheckedAgainstTheirRange) {
  EXPECT_EQ(parse_integer(" 42 ", 0, 100), 42);
  EXPECT_EQ(parse_integer("-3", -5, 5), -3);
  EXPECT_EQ(error_of([] { parse_integer("101", 0, 100); }), "101 is out of range; it lies between 0 and 100");
  EXPECT_THAT(error_of([] { parse_integer("99999999999999999999", 0, 100); }), HasSubstr("out of range"));
  for (const char* text : {"", "x", "1x", "1.0", "+1", "0x10", "1 2", "--1"}) {
    EXPECT_THAT(error_of([&] { parse_integer(text, 0, 100); }), HasSubstr("is no whole number")) << text;
  }
}

TEST(Number, RealNumbersAreCheckedAgainstTheirRange) {
  EXPECT_DOUBLE_EQ(parse_real("3e-4", 0, 1), 3e-4);
  EXPECT_THAT(error_of([] { parse_real("2", 0, 1); }), HasSubstr("out of range"));
  EXPECT_THAT(error_of([] { parse_real("1e999", 0, 1); }), HasSubstr("out of range"));
  for (const char* text : {"", "x", "1,5", "0x1p3", "1e", "."}) {
    EXPECT_THAT(error_of([&] { parse_real(text, 0, 1); }), HasSubstr("is no number")) << text;
  }
  for (const char* text : {"nan", "inf", "-inf"}) {
    EXPECT_NE(error_of([&] { parse_real(text, -1e308, 1e308); }), "no error") << text;
  }
}

TEST(Bool, HasEightWords) {
  for (const char* text : {"yes", "true", "on", "1"}) EXPECT_TRUE(parse_bool(text));
  for (const char* text : {"no", "false", "off", "0"}) EXPECT_FALSE(parse_bool(text));
  EXPECT_EQ(error_of([] { parse_bool("maybe"); }), "'maybe' is neither yes nor no");
}

TEST(Name, BeginsWithALetterAndIsShort) {
  EXPECT_TRUE(valid_name("sft"));
  EXPECT_TRUE(valid_name("A-1_b"));
  EXPECT_TRUE(valid_name(std::string(kMaxNameLength, 'a')));
  for (const std::string& text :
       {std::string(), std::string(kMaxNameLength + 1, 'a'), std::string("1a"), std::string("a.b"),
        std::string("a b"), std::string("a/b"), std::string("\xC3\xA9"), std::string("a\0b", 3)}) {
    EXPECT_FALSE(valid_name(text)) << text;
  }
}

TEST(Split, TrimsAndKeepsEmptyParts) {
  EXPECT_THAT(split(" a , ,b", ','), testing::ElementsAre("a", "", "b"));
  EXPECT_THAT(split("", ','), testing::ElementsAre(""));
}

}  // namespace
}  // namespace stint
