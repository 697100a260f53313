// SPDX-License-Identifier: Apache-2.0
#include "reservations/notifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/ini.h"
#include "reservations/kill_point.h"
#include "tests/unit/reservations/book_fixture.h"

namespace stint::reservations {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class NotifierTest : public BookTest {
 protected:
  NotifierTest() {
    settings_.policy.book.everyone = true;
    settings_.notices =
        read_notice_settings(IniFile::parse("[notices]\nsoon = 100s\nending = 100s\n", "stint.conf"));
    settings_.notices.command = "/bin/false";
    restart();
  }
  ~NotifierTest() override { set_kill_handler({}); }

  void restart() {
    restart_stintd();
    notifier_ = std::make_unique<Notifier>(
        ledger_, book_->accounts(), metrics_, settings_, [this] { return cluster_.now; },
        [this](const Notice& notice, std::int64_t) {
          if (fails_) fail("mail: no route");
          users_ = notice.users;
          sent_.push_back(std::string(to_string(notice.kind)) + " " + notice.plan);
        });
  }
  void settle() {
    while (notifier_->round() == milliseconds{}) {
    }
  }
  void pass(int time) {
    for (int i = 0; i < time; i += 5) {
      cluster_.now += 5;
      book_->reconcile();
      settle();
    }
  }
  // For daemon, who is no operator, by root.
  static PlanRequest for_another() {
    auto wanted = request();
    wanted.users = {"daemon"};
    return wanted;
  }
  std::string metric(const std::string& result) {
    const auto text = metrics_.text();
    const auto place = text.find("stint_notices_total{result=\"" + result + "\"} ");
    return place == std::string::npos ? "none" : text.substr(place, text.find('\n', place) - place);
  }

  std::unique_ptr<Notifier> notifier_;
  std::vector<std::string> sent_;
  std::vector<std::string> users_;  // of the last one
  bool fails_ = false;
};

TEST_F(NotifierTest, TheLifeOfAPlanIsToldOnceEach) {
  auto wanted = for_another();
  wanted.start = now() + seconds{200};
  book_->create(wanted, kRoot);
  pass(1'000);
  EXPECT_THAT(sent_, ElementsAre("booked demo", "soon demo", "started demo", "ending demo", "ended demo"));
  restart();
  pass(100);
  EXPECT_EQ(sent_.size(), 5U);
  EXPECT_THAT(metric("sent"), HasSubstr(" 5"));
}

TEST_F(NotifierTest, OnlyWhatTheAdminChoseIsSent) {
  settings_.notices.send = {NoticeKind::kEnded};
  restart();
  book_->create(for_another(), kRoot);
  pass(700);
  EXPECT_THAT(sent_, ElementsAre("ended demo"));
}

TEST_F(NotifierTest, HistoryFromBeforeItWasSwitchedOnIsNotTold) {
  ledger_.stop_notices();
  book_->create(for_another(), kRoot);
  cluster_.now += 10;
  restart();
  pass(20);
  EXPECT_THAT(sent_, IsEmpty());
  book_->cancel("demo", kRoot, false);
  pass(5);
  EXPECT_THAT(sent_, ElementsAre("cancelled demo"));
}

TEST_F(NotifierTest, AfterAnOutageOnlyWhatIsStillOfUseIsTold) {
  auto wanted = for_another();
  wanted.start = now() + seconds{50};
  book_->create(wanted, kRoot);
  cluster_.now += 300;  // soon, and started meanwhile
  restart();
  pass(5);
  EXPECT_THAT(sent_, testing::UnorderedElementsAre("booked demo", "started demo"));
}

TEST_F(NotifierTest, WhatFailsIsTriedAgainAtGrowingIntervalsAndNothingWaitsForIt) {
  book_->create(for_another(), kRoot);
  fails_ = true;
  pass(60);
  EXPECT_THAT(metric("failed"),
              testing::AnyOf(HasSubstr(" 7"), HasSubstr(" 8")));  // two notices, 5, 10, 20 s
  fails_ = false;
  pass(60);
  EXPECT_THAT(sent_, testing::UnorderedElementsAre("booked demo", "started demo"));
}

TEST_F(NotifierTest, WhatIsOfNoUseAnyMoreIsGivenUp) {
  auto wanted = for_another();
  wanted.start = now() + seconds{50};
  settings_.notices.send = {NoticeKind::kSoon};
  restart();
  book_->create(wanted, kRoot);
  fails_ = true;
  pass(100);
  fails_ = false;
  pass(100);
  EXPECT_THAT(sent_, IsEmpty());
  EXPECT_THAT(metric("given_up"), HasSubstr(" 1"));
}

// Killed at each point of each round, it tells everything, and twice only what was just delivered.
TEST_F(NotifierTest, AKillLosesNothingAndRepeatsAtMostOne) {
  std::set<std::string> killed_at_points;
  for (int point = 1;; ++point) {
    sent_.clear();
    const std::string name = "demo" + std::to_string(point);
    auto wanted = for_another();
    wanted.name = name;
    wanted.nodes = 1;
    wanted.spares = 0;
    wanted.duration = seconds{20};
    int passed = 0;
    std::string killed_at;
    book_->create(wanted, kRoot);
    set_kill_handler([&](std::string_view at) {
      if (!at.starts_with("notice.") && !at.ends_with("_notice") && !at.ends_with("_notices")) return;
      if (++passed != point) return;
      killed_at = at;
      throw FakeCluster::Killed();
    });
    for (int i = 0; i < 12; ++i) {
      cluster_.now += 5;
      fails_ = i == 0;  // and is tried again
      try {
        notifier_->round();
        settle();
      } catch (const FakeCluster::Killed&) {
        restart();
      }
    }
    set_kill_handler({});
    settle();
    const std::set<std::string> told(sent_.begin(), sent_.end());
    EXPECT_THAT(told, testing::UnorderedElementsAre("booked " + name, "started " + name, "ending " + name,
                                                    "ended " + name))
        << killed_at;
    killed_at_points.insert(killed_at);
    EXPECT_LE(sent_.size(), killed_at == "notice.delivered" ? 5U : 4U) << killed_at;
    if (passed < point) break;
    ASSERT_LT(point, 100);
  }
  EXPECT_THAT(killed_at_points, testing::IsSupersetOf({"ledger.add_notices", "ledger.retry_notice",
                                                       "ledger.close_notice", "notice.delivered"}));
}

TEST_F(NotifierTest, KilledAsItBeginsOrStopsTheNextOneDoesTheSame) {
  const auto killed_at = [](const char* point) {
    set_kill_handler([point](std::string_view at) {
      if (at == point) throw FakeCluster::Killed();
    });
  };
  killed_at("ledger.start_notices");
  EXPECT_THROW(restart(), FakeCluster::Killed);
  set_kill_handler({});
  restart();
  book_->create(for_another(), kRoot);
  fails_ = true;
  settle();
  fails_ = false;
  killed_at("ledger.stop_notices");
  EXPECT_THROW(ledger_.stop_notices(), FakeCluster::Killed);
  set_kill_handler({});
  cluster_.now += 60;
  restart();
  settle();
  EXPECT_THAT(sent_, IsEmpty());  // what was in the box is told no more
  book_->cancel("demo", kRoot, false);
  settle();
  EXPECT_THAT(sent_, testing::ElementsAre("cancelled demo"));
}

TEST_F(NotifierTest, ABudgetThatRunsOutIsTold) {
  settings_.money.budgets.of_account["physics"] = {200, false, Budget::Period::kYear, {"bin"}};
  settings_.notices.send = {NoticeKind::kBudget};
  restart();
  auto wanted = for_another();
  wanted.account = "physics";
  book_->create(wanted, kRoot);  // 1.67 of 2.00
  pass(5);
  EXPECT_THAT(sent_, ElementsAre("budget demo"));
  wanted.name = "more";
  wanted.nodes = 1;
  wanted.spares = 0;
  EXPECT_EQ(refused(wanted).first, 403);
  EXPECT_EQ(refused(wanted).first, 403);
  wanted.quote = true;
  EXPECT_EQ(refused(wanted).first, 403);
  pass(5);
  EXPECT_THAT(sent_, ElementsAre("budget demo", "budget more"));
}

TEST_F(NotifierTest, AUserToWhomNoMailCanGoIsLeftOut) {
  settings_.notices.command.clear();
  settings_.notices.mail = "/bin/false";
  restart();
  const auto id = book_->create(for_another(), kRoot).id;
  settle();
  auto plan = *ledger_.plan(id);
  plan.users = {"-oQ/tmp", "daemon"};
  plan.owner = "|sh";
  ledger_.begin_change({plan, {cluster_.now, "root", "extended", ""}});
  ledger_.finish_change(id);
  settle();
  EXPECT_EQ(sent_.back(), "changed demo");
  EXPECT_THAT(users_, ElementsAre("daemon"));
}

TEST(Mail, AddressesAreThoseOfUsers) {
  EXPECT_EQ(mail_address("alice", ""), "alice");
  EXPECT_EQ(mail_address("alice", "example.org"), "alice@example.org");
  EXPECT_EQ(mail_address("alice@corp.example", "example.org"), "alice@corp.example");
  for (const char* name : {"", "-oQ/tmp", "|sh", "/tmp/x", "+folder", "a b", "a\nb", "a;b", "~a"})
    EXPECT_EQ(mail_address(name, "example.org"), "") << name;
}

TEST(Mail, PausesGrowToAnHour) {
  EXPECT_EQ(retry_pause(0), seconds{5});
  EXPECT_EQ(retry_pause(1), seconds{10});
  EXPECT_EQ(retry_pause(9), seconds{2'560});
  EXPECT_EQ(retry_pause(10), std::chrono::hours{1});
  EXPECT_EQ(retry_pause(1'000'000), std::chrono::hours{1});
}

class DeliverTest : public testing::Test {
 protected:
  std::string program(const std::string& text) {
    const auto path = scratch_.file("program");
    std::ofstream(path) << "#!/bin/sh\n" << text;
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return path;
  }
  std::string written() { return read_file(scratch_.file("out"), 1 << 20); }
  std::string error_of(const NoticeSettings& settings) {
    try {
      deliver(settings, notice_, 17);
    } catch (const Error& error) {
      return error.what();
    }
    return "delivered";
  }
  static Notice notice() {
    Notice notice;
    notice.kind = NoticeKind::kSoon;
    notice.plan = "demo";
    notice.users = {"alice", "bob"};
    notice.subject = "stint: plan demo; $(touch /tmp/x) `id`";
    notice.text = "One.\nTwo.\n";
    return notice;
  }

  Scratch scratch_;
  Notice notice_ = notice();
};

TEST_F(DeliverTest, AMailProgramGetsSubjectAddressesAndText) {
  NoticeSettings settings;
  settings.mail = program("for word; do echo \"[$word]\"; done >" + scratch_.file("out") + "; cat >>" +
                          scratch_.file("out"));
  settings.mail_domain = "example.org";
  EXPECT_EQ(error_of(settings), "delivered");
  EXPECT_EQ(
      written(),
      "[-s]\n[stint: plan demo; $(touch /tmp/x) `id`]\n[alice@example.org]\n[bob@example.org]\nOne.\nTwo.\n");
}

TEST_F(DeliverTest, ACommandGetsItsEnvironmentAndJson) {
  NoticeSettings settings;
  settings.command = program(
      "(cat; printf '%s' \"$#|$STINT_NOTICE_KIND|$STINT_NOTICE_PLAN|$STINT_NOTICE_USERS|"
      "$STINT_NOTICE_ID|$STINT_NOTICE_TEXT\") >" +
      scratch_.file("out"));
  EXPECT_EQ(error_of(settings), "delivered");
  const auto text = written();
  const auto json = nlohmann::json::parse(text.substr(0, text.find('\n')));
  EXPECT_EQ(json.at("kind"), "soon");
  EXPECT_EQ(json.at("users"), nlohmann::json({"alice", "bob"}));
  EXPECT_EQ(json.at("subject"), notice_.subject);
  EXPECT_EQ(json.at("id"), 17);
  EXPECT_THAT(text, testing::EndsWith("0|soon|demo|alice bob|17|One.\nTwo.\n"));
}

TEST_F(DeliverTest, OneThatFailsIsQuotedInOneLine) {
  NoticeSettings settings;
  settings.command = program("echo 'no\n\nroute' >&2; exit 3");
  EXPECT_EQ(error_of(settings), settings.command + ": ended with 3: no route");
}

TEST_F(DeliverTest, OneThatHangsIsEndedWithAllItStarted) {
  NoticeSettings settings;
  settings.command = program("sleep 600 & echo $! >" + scratch_.file("out") + "; wait");
  settings.timeout = milliseconds{500};
  EXPECT_THAT(error_of(settings), HasSubstr("did not end within 0.5 s"));
  const auto child = std::stoi(written());
  for (int i = 0;
       i < 100 && ::kill(child, 0) == 0 &&
       read_file("/proc/" + std::to_string(child) + "/stat", 4096).find(" Z ") == std::string::npos;
       ++i)
    std::this_thread::sleep_for(milliseconds{20});
  EXPECT_TRUE(::kill(child, 0) != 0 ||
              read_file("/proc/" + std::to_string(child) + "/stat", 4096).find(" Z ") != std::string::npos);
}

}  // namespace
}  // namespace stint::reservations
