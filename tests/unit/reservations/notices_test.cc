// SPDX-License-Identifier: Apache-2.0
#include "reservations/notices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/one_line.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr sys_seconds at(std::int64_t second) {
  return sys_seconds{seconds{second}};
}

// Two segments: [1000, 2000) and [3000, 4000).
Plan demo() {
  Plan plan;
  plan.id = 7;
  plan.name = "demo";
  plan.phase = Phase::kBooked;
  plan.owner = "alice";
  plan.users = {"alice", "bob"};
  plan.nodes = 2;
  plan.spares = 1;
  plan.account = "physics";
  plan.segments = {{"demo.0", at(1000), at(2000), {"node1", "node2", "node3"}},
                   {"demo.1", at(3000), at(4000), {"node4", "node5", "node6"}}};
  return plan;
}

NoticeSettings settings() {
  NoticeSettings settings;
  settings.soon = seconds{300};
  settings.ending = seconds{200};
  return settings;
}

std::vector<std::string> due(const Plan& plan, std::int64_t now, std::int64_t since = 0) {
  std::vector<std::string> texts;
  for (const auto& notice : notices_due(plan, settings(), at(since), at(now)))
    texts.push_back(std::string(to_string(notice.kind)) + ": " +
                    notice.subject.substr(7, notice.subject.find(" demo") - 2));
  return texts;
}

std::optional<Notice> told(const std::string& who, const std::string& action, const std::string& detail = {},
                           const Plan& plan = demo(), const std::vector<HistoryEntry>& history = {}) {
  Policy policy;
  policy.approvers.users = {"carol", "alice"};
  return notice_of(plan, {42, plan.id, {5000, who, action, detail}}, history, policy);
}

TEST(Notices, ALifeIsToldInOrderOnceEach) {
  std::vector<std::string> keys;
  std::vector<std::string> kinds;
  for (std::int64_t now = 0; now < 5000; now += 7) {
    for (const auto& notice : notices_due(demo(), settings(), at(0), at(now))) {
      if (std::find(keys.begin(), keys.end(), notice.key) != keys.end()) continue;
      keys.push_back(notice.key);
      kinds.emplace_back(to_string(notice.kind));
      EXPECT_LT(at(now), notice.until);
    }
  }
  EXPECT_THAT(kinds, ElementsAre("soon", "started", "ending", "soon", "started", "ending", "ended"));
}

TEST(Notices, EachIsDueInItsTimeOnly) {
  EXPECT_THAT(due(demo(), 699), IsEmpty());
  EXPECT_EQ(notices_due(demo(), settings(), at(0), at(700)).at(0).subject,
            "stint: segment 0 of plan demo begins at " + format_time(at(1000)));
  EXPECT_EQ(notices_due(demo(), settings(), at(0), at(1000)).at(0).kind, NoticeKind::kStarted);
  EXPECT_EQ(notices_due(demo(), settings(), at(0), at(2500)).size(), 0U);
  EXPECT_EQ(notices_due(demo(), settings(), at(0), at(4000)).at(0).kind, NoticeKind::kEnded);
  EXPECT_THAT(due(demo(), 4000 + 86'400), IsEmpty());
}

TEST(Notices, WhatWasBeforePeopleWereToldAnythingIsNotTold) {
  EXPECT_THAT(notices_due(demo(), settings(), at(1500), at(1600)), IsEmpty());
  EXPECT_THAT(notices_due(demo(), settings(), at(4500), at(4600)), IsEmpty());
  EXPECT_EQ(notices_due(demo(), settings(), at(4000), at(4600)).size(), 1U);
}

TEST(Notices, AnEndThatIsMovedIsToldAgain) {
  auto plan = demo();
  const auto before = notices_due(plan, settings(), at(0), at(3900)).at(1).key;
  plan.segments[1].end += seconds{1000};
  EXPECT_NE(notices_due(plan, settings(), at(0), at(4900)).at(1).key, before);
}

TEST(Notices, SegmentsWithoutAGapAreOneToPeople) {
  auto plan = demo();
  plan.segments[1].start = at(2000);
  EXPECT_EQ(notices_due(plan, settings(), at(0), at(1900)).size(), 1U) << "only that the first began";
  EXPECT_EQ(notices_due(plan, settings(), at(0), at(2100)).size(), 0U);
}

TEST(Notices, OfAShortSegmentPeopleHearInItsSecondHalf) {
  auto plan = demo();
  plan.segments = {{"demo.0", at(1000), at(1100), {"node1"}}};
  EXPECT_EQ(notices_due(plan, settings(), at(0), at(1049)).size(), 1U);
  EXPECT_EQ(notices_due(plan, settings(), at(0), at(1050)).size(), 2U);
}

TEST(Notices, PlansThatAreNotBookedOrWereReleasedSayNothingOfTheirTimes) {
  auto plan = demo();
  plan.phase = Phase::kPending;
  EXPECT_THAT(due(plan, 900), IsEmpty());
  plan = demo();
  plan.segments[1].end = at(3500);
  plan.segments[1].released = true;
  EXPECT_THAT(due(plan, 3600), IsEmpty());
}

TEST(Notices, WhoDidItIsNotTold) {
  EXPECT_THAT(told("alice", "extended")->users, ElementsAre("bob"));
  EXPECT_THAT(told("root", "extended")->users, ElementsAre("alice", "bob"));
  EXPECT_THAT(told("stintd", "failed")->users, ElementsAre("alice", "bob"));
  auto alone = demo();
  alone.users = {"alice"};
  EXPECT_FALSE(told("alice", "booked", "", alone));
}

TEST(Notices, ACancelledPlanNamesWhoCancelledIt) {
  const std::vector<HistoryEntry> history{{1, "alice", "booked", ""},
                                          {2, "root", "cancelling, jobs and all", "1.00 given back"},
                                          {3, "stintd", "cancelled", ""}};
  const auto notice = told("stintd", "cancelled", "", demo(), history);
  EXPECT_THAT(notice->text, testing::AllOf(HasSubstr("by root"), HasSubstr("1.00 given back")));
  EXPECT_EQ(notice->kind, NoticeKind::kCancelled);
}

TEST(Notices, ApproversAreAskedAndNotTheOneWhoAsks) {
  const auto notice = told("alice", "asked for", "2+1 nodes");
  EXPECT_THAT(notice->users, ElementsAre("carol"));
  EXPECT_THAT(notice->text, HasSubstr("stint plan approve demo"));
}

TEST(Notices, NodesAndReleasesAreTold) {
  EXPECT_EQ(told("stintd", "node lost", "node1: bad disk")->kind, NoticeKind::kNodeLost);
  EXPECT_EQ(told("stintd", "node swapped", "node1 is replaced by node7")->kind, NoticeKind::kNodeReplaced);
  EXPECT_EQ(told("stintd", "idle")->kind, NoticeKind::kIdle);
  EXPECT_EQ(told("stintd", "idle")->until, at(5000) + Policy().release_notice);
  EXPECT_EQ(told("stintd", "released")->kind, NoticeKind::kReleased);
  EXPECT_FALSE(told("stintd", "reservation made again"));
  EXPECT_FALSE(told("stintd", "cancelling"));
}

TEST(Notices, WhatOthersWroteBreaksNoLine) {
  const auto notice = told("stintd", "node lost", "node1: bad\r\n~!rm\nBcc: eve\n\x1b[2J");
  EXPECT_TRUE(fits_one_line(notice->subject));
  EXPECT_THAT(notice->text, HasSubstr("\nnode1: bad ~!rm Bcc: eve [2J\n"));
  const auto obeyed = told("stintd", "node lost", "~!rm");
  EXPECT_THAT(obeyed->text, HasSubstr("\n ~!rm\n"));
}

TEST(Notices, ABudgetIsToldAtEightyAndAtAHundredPercent) {
  Accounts::Standing standing{"physics", 79'99, 100'00, "EUR", "2026-11", {"dave", "alice"}};
  EXPECT_FALSE(notice_of_budget(standing, demo(), at(100)));
  standing.spent_cents = 80'00;
  const auto first = notice_of_budget(standing, demo(), at(100));
  EXPECT_THAT(first->users, ElementsAre("dave", "alice"));
  EXPECT_EQ(first->subject, "stint: account physics has spent 80 % of its budget of 2026-11");
  standing.spent_cents = 99'99;
  EXPECT_EQ(notice_of_budget(standing, demo(), at(200))->key, first->key);
  standing.spent_cents = 100'00;
  EXPECT_NE(notice_of_budget(standing, demo(), at(200))->key, first->key);
  standing.amount_cents = 0;
  EXPECT_FALSE(notice_of_budget(standing, demo(), at(200)));
}

TEST(Notices, ARefusalOfABudgetIsToldToItsContactsOnceADay) {
  const Accounts::Standing standing{"physics", 10, 20, "EUR", "2026-11", {"dave"}};
  const auto notice =
      notice_of_refusal(standing, demo(), "bob", "plan demo: costs 1.00 EUR too much", at(100));
  EXPECT_THAT(notice->users, ElementsAre("dave"));
  EXPECT_THAT(notice->text, HasSubstr("costs 1.00 EUR too much"));
  EXPECT_EQ(notice_of_refusal(standing, demo(), "bob", "again", at(3'000))->key, notice->key);
  EXPECT_NE(notice_of_refusal(standing, demo(), "bob", "again", at(90'000))->key, notice->key);
  EXPECT_FALSE(notice_of_refusal(standing, demo(), "dave", "own", at(100)));
}

TEST(Notices, TheOutboxGivesBackWhatWasPutIn) {
  const auto notice = *told("root", "extended", "more \xff time");
  const auto back = from_outbox(to_outbox(notice));
  EXPECT_EQ(back.key, notice.key);
  EXPECT_EQ(back.kind, notice.kind);
  EXPECT_EQ(back.users, notice.users);
  EXPECT_EQ(back.subject, notice.subject);
  EXPECT_THAT(back.text, HasSubstr("more \xEF\xBF\xBD time"));
  EXPECT_EQ(back.until, notice.until);
}

}  // namespace
}  // namespace stint::reservations
