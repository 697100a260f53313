// SPDX-License-Identifier: Apache-2.0
#include "reservations/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "tests/unit/reservations/scratch.h"

namespace stint::reservations {
namespace {

using nlohmann::json;
using std::chrono::hours;
using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::HasSubstr;

constexpr sys_seconds kNovember{seconds{1'793'491'200}};  // 2026-11-01T00:00:00Z
constexpr sys_seconds kDecember = kNovember + std::chrono::days{30};
constexpr Window kBoth{kNovember, kDecember + std::chrono::days{31}};

bool everybody(const std::string&) {
  return true;
}

class ReportTest : public testing::Test {
 protected:
  ReportTest() : ledger_(scratch_.file("ledger.db")) {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
  }

  std::int64_t add(const std::string& account, Window window, Phase phase = Phase::kBooked) {
    Plan plan;
    plan.name = "demo";
    plan.account = account;
    plan.nodes = 2;
    plan.price = {1'000, "EUR", Rate{}, {}};
    plan.segments.push_back({"demo.0", window.start, window.end, {"a", "b", "c"}});
    plan.id = ledger_.add_plan(plan);
    move_to(plan, Phase::kBooked);
    if (phase == Phase::kCancelled) {
      plan.refund_cents = 400;
      move_to(plan, Phase::kCancelling);
      move_to(plan, Phase::kCancelled);
    }
    return plan.id;
  }
  void move_to(Plan& plan, Phase phase) {
    plan.phase = phase;
    ledger_.set_phase(plan);
  }
  json report(Window window = kBoth) { return to_json(make_report(ledger_, window, everybody)); }

  Scratch scratch_;
  Ledger ledger_;
};

TEST_F(ReportTest, HoursStandInTheirMonthAndMoneyInThatOfTheStart) {
  const auto id = add("physics", {kDecember - hours{10}, kDecember + hours{30}});
  ledger_.set_usage({{id, 0, kDecember - hours{24}, kDecember, {3'600, 68'400, 0}},
                     {id, 0, kDecember, kDecember + hours{1}, {0, 0, 7'200}}});
  const auto lines = report().at("lines");
  ASSERT_EQ(lines.size(), 2U) << lines;
  EXPECT_EQ(lines[0], json({{"account", "physics"},
                            {"month", "2026-11"},
                            {"plans", 1},
                            {"booked_hours", 20.0},
                            {"used_hours", 1.0},
                            {"idle_hours", 19.0},
                            {"lost_hours", 0.0},
                            {"price", "10.00"},
                            {"refund", "0.00"},
                            {"currency", "EUR"}}));
  EXPECT_EQ(lines[1]["month"], "2026-12");
  EXPECT_EQ(lines[1]["plans"], 0);
  EXPECT_EQ(lines[1]["booked_hours"], 60.0);
  EXPECT_EQ(lines[1]["lost_hours"], 2.0);
  EXPECT_EQ(lines[1]["price"], "0.00");
  const auto december = report({kDecember, kBoth.end}).at("lines");
  ASSERT_EQ(december.size(), 1U);
  EXPECT_EQ(december[0], lines[1]);
}

TEST_F(ReportTest, OfACancelledPlanOnlyWhatHadPassedWasBooked) {
  const auto id = add("physics", {kNovember, kNovember + hours{10}}, Phase::kCancelled);
  ledger_.set_usage({{id, 0, kNovember, kNovember + hours{1}, {3'600, 3'600, 0}}});
  const auto line = report().at("lines").at(0);
  EXPECT_EQ(line["booked_hours"], 2.0);
  EXPECT_EQ(line["price"], "10.00");
  EXPECT_EQ(line["refund"], "4.00");
  EXPECT_EQ(ledger_.charged("physics", "EUR", {kNovember, kDecember}), 600);
  EXPECT_EQ(ledger_.charged("physics", "CHF", {kNovember, kDecember}), 0);
  EXPECT_EQ(ledger_.charged("maths", "EUR", {kNovember, kDecember}), 0);
  EXPECT_EQ(ledger_.charged("physics", "EUR", {kNovember - hours{1}, kNovember}), 0);
}

TEST_F(ReportTest, OnlyVisibleAccountsAreTold) {
  add("physics", {kNovember, kNovember + hours{10}});
  add("maths", {kNovember, kNovember + hours{10}});
  const auto mine =
      make_report(ledger_, kBoth, [](const std::string& account) { return account == "maths"; });
  ASSERT_EQ(mine.lines.size(), 1U);
  EXPECT_EQ(mine.lines[0].group, "maths");
  EXPECT_EQ(report().at("lines").size(), 2U);
}

TEST_F(ReportTest, ItIsATableAndCommaSeparatedValues) {
  add("physics", {kNovember, kNovember + hours{10}});
  EXPECT_EQ(report_csv(report()),
            "account,month,plans,booked_hours,used_hours,idle_hours,lost_hours,price,refund,currency\n"
            "physics,2026-11,1,20.00,0.00,0.00,0.00,10.00,0.00,EUR\n");
  EXPECT_THAT(report_text(report()), HasSubstr("from 2026-11-01T00:00:00 to 2027-01-01T00:00:00\nACCOUNT"));
  EXPECT_THAT(report_text(report()), HasSubstr("\nphysics"));
  EXPECT_THAT(report_text(to_json(Report{kBoth, {}})), HasSubstr("no plans\n"));
}

TEST_F(ReportTest, ATagsValuesGroupPlansOfAllAccounts) {
  add("physics", {kNovember, kNovember + hours{10}});
  add("maths", {kNovember, kNovember + hours{10}});
  add("maths", {kNovember, kNovember + hours{10}});
  const auto first_two = [](const Plan& plan) { return plan.id <= 2 ? "llm" : ""; };
  const auto report = to_json(make_report(ledger_, kBoth, everybody, first_two), "project");
  EXPECT_EQ(report_csv(report),
            "project,month,plans,booked_hours,used_hours,idle_hours,lost_hours,price,refund,currency\n"
            ",2026-11,1,20.00,0.00,0.00,0.00,10.00,0.00,EUR\n"
            "llm,2026-11,2,40.00,0.00,0.00,0.00,20.00,0.00,EUR\n");
  EXPECT_THAT(report_text(report), HasSubstr("\nproject "));
  EXPECT_THAT(report_text(report), HasSubstr("\n-  "));
}

TEST_F(ReportTest, RequestsAreWholeLocalDaysAndThisMonthWhenNoneIsNamed) {
  const auto now = kNovember + hours{300};
  const auto month = ReportRequest::parse(json::object(), now).window;
  EXPECT_EQ(month.start, kNovember);
  EXPECT_EQ(month.end, kDecember);
  const auto days = ReportRequest::parse({{"from", "2026-11-01"}, {"to", "2026-11-03"}}, now);
  EXPECT_EQ(days.window.start, kNovember);
  EXPECT_EQ(days.window.end, kNovember + hours{48});
  EXPECT_THROW(ReportRequest::parse({{"from", "2026-11-02"}, {"to", "2026-11-01"}}, now), Error);
  EXPECT_THROW(ReportRequest::parse({{"from", "1970-01-01"}, {"to", "2026-11-01"}}, now), Error);
  for (const char* wrong : {"monday", "2026-11", "2026-13-01", "2026-11-32", "1-1-1"})
    EXPECT_THROW(ReportRequest::parse({{"from", wrong}}, now), Error) << wrong;
  EXPECT_THROW(ReportRequest::parse({{"colour", "red"}}, now), Error);
}

TEST(ReportTime, AWeekdayIsTheLastOneOrTheFirstBehindTheOther) {
  const auto at = [](const std::string& text) { return parse_time(text, sys_seconds{}); };
  const auto wednesday = at("2026-11-25T14:00");
  EXPECT_EQ(parse_report_time("monday", wednesday, {}), at("2026-11-23"));
  EXPECT_EQ(parse_report_time("Wed", wednesday, {}), at("2026-11-25"));
  EXPECT_EQ(parse_report_time("friday", wednesday, at("2026-11-23")), at("2026-11-27"));
  EXPECT_EQ(parse_report_time("monday", wednesday, at("2026-11-23")), at("2026-11-30"));
  EXPECT_EQ(parse_report_time("tomorrow", wednesday, {}), at("2026-11-26"));
}

}  // namespace
}  // namespace stint::reservations
