// SPDX-License-Identifier: Apache-2.0
#include "reservations/plan_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/text.h"

namespace stint::reservations {
namespace {

using nlohmann::json;
using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::HasSubstr;

constexpr std::int64_t kMonday = 1'795'392'000;  // 2026-11-23T00:00:00Z

class PlanViewTest : public testing::Test {
 protected:
  PlanViewTest() {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
  }
};

TEST_F(PlanViewTest, OffersAreATableWithTheCommandThatBooksOne) {
  const json answer = {
      {"offers",
       {{{"id", "oabcde"},
         {"segments",
          {{{"start", kMonday}, {"end", kMonday + 3'600}, {"nodes", {"n1", "n2"}}, {"switches", 1}},
           {{"start", kMonday + 7'200}, {"end", kMonday + 9'000}, {"nodes", {"n2", "n3"}}, {"switches", 2}}}},
         {"price", {{"amount", "7.50"}, {"currency", "EUR"}, {"rate", "2.50"}}},
         {"why", "ends first, 2 segments"}}}},
      {"valid_until", kMonday + 900}};
  EXPECT_EQ(
      offers_text(answer),
      "OFFER   FROM                 UNTIL                LENGTH    NODES   SWITCHES  PRICE     WHY\n"
      "oabcde  2026-11-23T00:00:00  2026-11-23T01:00:00  01:00:00  n[1-2]  1         7.50 EUR  ends first, 2 "
      "segments\n"
      "        2026-11-23T02:00:00  2026-11-23T02:30:00  00:30:00  n[2-3]  2                   \n"
      "book one until 2026-11-23T00:15:00: stint plan create --name NAME --offer oabcde\n");
}

TEST_F(PlanViewTest, OffersTellTheirGpusWhereTheClusterHasSome) {
  json answer = {{"offers",
                  {{{"id", "oabcde"},
                    {"segments",
                     {{{"start", kMonday}, {"end", kMonday + 60}, {"nodes", {"n1", "n2"}}, {"switches", 1}}}},
                    {"gpus_per_node", 8},
                    {"gpus", 16},
                    {"price", {{"amount", "7.50"}, {"currency", "EUR"}}},
                    {"why", "ends first"}}}},
                 {"valid_until", kMonday + 900}};
  EXPECT_THAT(offers_text(answer), HasSubstr("NODES   GPUS           SWITCHES  PRICE"));
  EXPECT_THAT(offers_text(answer), HasSubstr("n[1-2]  16 (8 a node)  1         7.50 EUR"));
  answer["offers"][0]["gpus_per_node"] = answer["offers"][0]["gpus"] = 0;
  EXPECT_THAT(offers_text(answer), HasSubstr("n[1-2]  none  1  "));
}

TEST_F(PlanViewTest, HowAPriceComesAboutIsSaidOnceForOffersOfTheSamePrice) {
  const auto offer = [](const char* id, const char* breakdown) {
    return json{{"id", id},
                {"segments", json::array()},
                {"price", {{"amount", "7.50"}, {"currency", "EUR"}, {"breakdown", breakdown}}},
                {"why", "ends first"}};
  };
  const json answer = {
      {"offers", {offer("oa", "2 h at 1.00"), offer("ob", "2 h night at 0.50"), offer("oc", "2 h at 1.00")}},
      {"valid_until", kMonday}};
  EXPECT_THAT(offers_text(answer), HasSubstr("\noa, oc: 2 h at 1.00\nob: 2 h night at 0.50\nbook one until"));
}

TEST_F(PlanViewTest, APlanSaysWhatItCostWhatCameBackWhatWasUsedAndByWhichJobs) {
  const json plan = {
      {"name", "demo"},
      {"state", "cancelled"},
      {"owner", "alice"},
      {"users", {"alice"}},
      {"accounts", {"physics"}},
      {"members", {"bob", "carol"}},
      {"partition", "main"},
      {"features", {"ib", "a100"}},
      {"gpus_per_node", 8},
      {"nodes", 1},
      {"switches", 1},
      {"account", "physics"},
      {"price", {{"amount", "7.50"}, {"currency", "EUR"}, {"rate", "2.50"}, {"breakdown", "3 h at 2.50"}}},
      {"refund", "2.00"},
      {"usage", {{"used_hours", 1.0}, {"idle_hours", 0.5}, {"lost_hours", 0.25}}},
      {"jobs",
       {{{"id", 7},
         {"name", "sft"},
         {"user", "alice"},
         {"state", "running"},
         {"reservation", "demo.0"},
         {"nodes", {"n1", "n2"}}},
        {{"id", 8},
         {"name", "next"},
         {"user", "bob"},
         {"state", "pending"},
         {"reservation", "demo.1"},
         {"nodes", json::array()}}}},
      {"segments",
       {{{"reservation", "demo.0"},
         {"start", kMonday},
         {"end", kMonday + 60},
         {"nodes", {"n1"}},
         {"lost", json::array()}}}}};
  EXPECT_THAT(plan_text(plan), HasSubstr("partition   main\nfeatures    ib,a100\ngpus        8 a node\n"));
  EXPECT_THAT(plan_text(plan), HasSubstr("price       7.50 EUR (3 h at 2.50; spares are free)\n"
                                         "account     physics\nrefund      2.00 EUR\n"
                                         "node-hours  1.00 used, 0.50 idle, 0.25 lost\n"
                                         "job         7 sft of alice, running on n[1-2]\n"
                                         "job         8 next of bob, pending for demo.1\n"));
}

TEST_F(PlanViewTest, WhatNeedsApprovalSaysFromWhom) {
  const auto offer = [](const char* id, bool needs) {
    return json{{"id", id},
                {"segments", json::array()},
                {"price", {{"amount", "7.50"}, {"currency", "EUR"}}},
                {"needs_approval", needs},
                {"why", "ends first"}};
  };
  json answer = {{"offers", {offer("oa", true), offer("ob", false), offer("oc", true)}},
                 {"approvers", "carol or an operator"},
                 {"valid_until", kMonday}};
  EXPECT_THAT(offers_text(answer), HasSubstr("\napproval: oa, oc need it from carol or an operator ("));
  answer["offers"] = {offer("ob", false)};
  EXPECT_THAT(offers_text(answer), testing::Not(HasSubstr("approval")));
}

TEST_F(PlanViewTest, WithoutAnOfferTheReasonAndTheRemedyAreSaid) {
  const json answer = {
      {"offers", json::array()}, {"reason", "8 nodes are free for 06:00:00"}, {"remedy", "wait"}};
  EXPECT_EQ(offers_text(answer), "no offer: 8 nodes are free for 06:00:00\nwhat would work: wait\n");
}

TEST_F(PlanViewTest, AvailabilityHasALineADayAndTellsTheFewest) {
  const json availability = {{"partition", "main"},
                             {"nodes", 8},
                             {"until", kMonday + 2 * 86'400},
                             {"steps",
                              {{{"from", kMonday + 3'600}, {"free", 8}},
                               {{"from", kMonday + 3'600 + 60}, {"free", 0}},
                               {{"from", kMonday + 7'200}, {"free", 4}},
                               {{"from", kMonday + 86'400}, {"free", 8}}}}};
  const auto text = availability_text(availability, sys_seconds{seconds{kMonday + 3'600}});
  EXPECT_THAT(text, HasSubstr("partition main: 8 nodes"));
  EXPECT_THAT(text, HasSubstr("Mon 11-23    __▄▄▄"));
  EXPECT_THAT(text, HasSubstr("▄  0 to 4\n"));
  EXPECT_THAT(text, HasSubstr("Tue 11-24  ████"));
  EXPECT_THAT(text, HasSubstr("█  8\n"));
}

// Nodes are free from 06:00 to 12:00 by the clock, on the day before it changes and on the day itself.
std::vector<std::string> days_of_six_to_twelve(const char* date) {
  ::setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
  ::tzset();
  const auto at = [&](const std::string& clock) {
    return parse_time(std::string(date) + "T" + clock, sys_seconds{});
  };
  const auto from = at("00:00");
  json steps = json::array({{{"from", from.time_since_epoch().count()}, {"free", 0}}});
  steps.push_back({{"from", at("06:00").time_since_epoch().count()}, {"free", 8}});
  steps.push_back({{"from", at("12:00").time_since_epoch().count()}, {"free", 0}});
  const json availability = {{"partition", "main"},
                             {"nodes", 8},
                             {"until", at("23:59").time_since_epoch().count()},
                             {"steps", steps}};
  return split(availability_text(availability, from), '\n');
}

TEST_F(PlanViewTest, AvailabilityKeepsToTheClockWhereItChanges) {
  const std::string ordinary = "____________████████████________________________  0 to 8";
  EXPECT_EQ(days_of_six_to_twelve("2027-03-27")[3], "Sat 03-27  " + ordinary);
  EXPECT_EQ(days_of_six_to_twelve("2027-10-31")[3], "Sun 10-31  " + ordinary);
  EXPECT_EQ(days_of_six_to_twelve("2027-03-28")[3],
            "Sun 03-28  ____  ______████████████________________________  0 to 8");
}

TEST_F(PlanViewTest, OneNodeIsNoNodes) {
  const json availability = {
      {"partition", "main"}, {"nodes", 1}, {"until", kMonday}, {"steps", json::array()}};
  EXPECT_THAT(availability_text(availability, sys_seconds{}), HasSubstr("partition main: 1 node; "));
}

}  // namespace
}  // namespace stint::reservations
