// SPDX-License-Identifier: Apache-2.0
#include "reservations/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "tests/unit/reservations/scratch.h"

namespace stint::reservations {
namespace {

using std::chrono::milliseconds;

Settings settings_from(const std::string& text) {
  const Scratch scratch;
  std::ofstream(scratch.file("stint.conf")) << text;
  return read_settings(load_config(scratch.file("stint.conf")));
}

std::string error_of(const std::string& text) {
  try {
    settings_from(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Settings, ListensWhereClientsDialUnlessTold) {
  const auto same = settings_from("[stintd]\naddress = ctl:6821\n");
  EXPECT_EQ(same.listen_host, "ctl");
  EXPECT_EQ(same.listen_port, 6821);
  const auto other = settings_from("[stintd]\naddress = ctl:6821\nlisten = [::1]:7000\n");
  EXPECT_EQ(other.listen_host, "::1");
  EXPECT_EQ(other.listen_port, 7000);
}

TEST(Settings, ListensEverywhereWhenClientsDialSeveralHosts) {
  const auto both = settings_from("[stintd]\naddress = ctl1:6821, ctl2:6821\n");
  EXPECT_EQ(both.listen_host, "0.0.0.0");
  EXPECT_EQ(both.listen_port, 6821);
  EXPECT_EQ(settings_from("[stintd]\naddress = ctl1:1,ctl2:2\nlisten = ctl2:2\n").listen_port, 2);
  EXPECT_EQ(error_of("[stintd]\naddress = ctl1:1,ctl2:2\n"),
            "[stintd] address: 'ctl1:1,ctl2:2' has different ports; set listen on each of these hosts");
}

TEST(Settings, TheShippedFileShowsTheDefaults) {
  EXPECT_EQ(read_settings(load_config(STINT_SHIPPED_CONFIG)), settings_from(""));
}

TEST(Settings, EveryKeyIsRead) {
  const auto settings = settings_from(
      "[stintd]\nledger = /tmp/x.db\nlog_level = warn\nprobe_interval = 250ms\nprobe_timeout = 1.5s\n"
      "probes_needed = 4\nthreads = 3\n[policy]\nbook = users:alice, bob\nmax_nodes = 16\nmax_duration = 2d\n"
      "min_lead = 1h\nmax_lead = 30d\nallowed_partitions = main,gpu\nallowed_features = a100,v100\n"
      "exceed_max_time = no\nrelease_idle_after = 2h\nrelease_notice = 10m\n[price]\nnode_hour = "
      "2.50\ncurrency = CHF\n");
  EXPECT_EQ(settings.ledger, "/tmp/x.db");
  EXPECT_EQ(settings.log_level, "warn");
  EXPECT_EQ(settings.probe_interval, milliseconds{250});
  EXPECT_EQ(settings.probe_timeout, milliseconds{1500});
  EXPECT_EQ(settings.probes_needed, 4);
  EXPECT_EQ(settings.threads, 3);
  EXPECT_THAT(settings.policy.book.users, testing::ElementsAre("alice", "bob"));
  EXPECT_EQ(settings.policy.max_nodes, 16);
  EXPECT_EQ(settings.policy.max_duration, std::chrono::days{2});
  EXPECT_EQ(settings.policy.min_lead, std::chrono::hours{1});
  EXPECT_EQ(settings.policy.max_lead, std::chrono::days{30});
  EXPECT_THAT(settings.policy.allowed_features, testing::ElementsAre("a100", "v100"));
  EXPECT_FALSE(settings.policy.exceed_max_time);
  EXPECT_THAT(settings.policy.allowed_partitions, testing::ElementsAre("main", "gpu"));
  EXPECT_EQ(settings.policy.release_idle_after, std::chrono::hours{2});
  EXPECT_EQ(settings.policy.release_notice, std::chrono::minutes{10});
  EXPECT_EQ(settings.money.prices.node_hour.format(), "2.50");
  EXPECT_EQ(settings.money.prices.currency, "CHF");
}

TEST(Settings, WhoMayBookAndApproveIsSaidInOneGrammar) {
  const auto all = parse_who("users:alice, bob accounts:physics,chem coordinators");
  EXPECT_THAT(all.users, testing::ElementsAre("alice", "bob"));
  EXPECT_THAT(all.accounts, testing::ElementsAre("physics", "chem"));
  EXPECT_TRUE(all.coordinators);
  EXPECT_FALSE(all.everyone);
  EXPECT_TRUE(parse_who("everyone").everyone);
  EXPECT_TRUE(parse_who("operators").users.empty());
  EXPECT_TRUE(settings_from("[policy]\napprovers = coordinators\n").policy.approvers.coordinators);
}

TEST(Settings, ApproversWithoutAWordBeforeThemAreUsers) {
  EXPECT_THAT(settings_from("[policy]\napprovers = carol, dave\n").policy.approvers.users,
              testing::ElementsAre("carol", "dave"));
  EXPECT_THAT(error_of("[policy]\nbook = carol, dave\n"),
              testing::HasSubstr("'carol,dave' is none of operators"));
}

TEST(Settings, APriceFromWhichOnApprovalIsNeededIsNotCut) {
  EXPECT_EQ(settings_from("[policy]\napprove_above_price = 99.95\n").policy.approve_above_cents, 9'995);
  EXPECT_THAT(error_of("[policy]\napprove_above_price = 99.955\n"),
              testing::HasSubstr("more than two decimals"));
}

TEST(Settings, ALeadThatNothingCouldKeepIsRefused) {
  EXPECT_EQ(error_of("[policy]\nmin_lead = 2d\nmax_lead = 1d\n"),
            "[policy] min_lead is longer than max_lead (1-00:00:00): nothing could be booked");
}

TEST(Settings, NobodyIsToldAnythingUnlessAProgramIsNamed) {
  EXPECT_FALSE(settings_from("").notices.on());
  EXPECT_FALSE(settings_from("[notices]\nsoon = 2h\n").notices.on());
  const auto mail = settings_from(
                        "[notices]\nmail = /bin/true\nmail_domain = example.org\nsend = soon, node_lost\n"
                        "soon = 2h\nending = 30m\ntimeout = 3s\n")
                        .notices;
  EXPECT_TRUE(mail.on());
  EXPECT_THAT(mail.send, testing::ElementsAre(NoticeKind::kSoon, NoticeKind::kNodeLost));
  EXPECT_EQ(mail.soon, std::chrono::hours{2});
  EXPECT_EQ(mail.ending, std::chrono::minutes{30});
  EXPECT_EQ(mail.timeout, milliseconds{3'000});
  EXPECT_EQ(settings_from("[notices]\ncommand = /bin/true\n").notices.send.size(), 15U);
}

TEST(Settings, NoticesThatCannotBeDeliveredAreRefused) {
  EXPECT_THAT(error_of("[notices]\nmail = mail\n"),
              testing::EndsWith("stint.conf:2: 'mail': 'mail' must be the absolute path of a program"));
  EXPECT_THAT(error_of("[notices]\ncommand = /nonesuch\n"),
              testing::EndsWith("'command': '/nonesuch' cannot be run: No such file or directory"));
  EXPECT_THAT(error_of("[notices]\nmail = /tmp\n"),
              testing::EndsWith("'mail': '/tmp' cannot be run: it is no file"));
  EXPECT_THAT(error_of("[notices]\nmail = /bin/true\ncommand = /bin/true\n"),
              testing::HasSubstr("stint.conf:3: 'command': mail and command are both set"));
  EXPECT_THAT(error_of("[notices]\nsend = soon,sooner\n"),
              testing::HasSubstr("'sooner' is no kind of notice; there are soon, started"));
  EXPECT_THAT(error_of("[notices]\nmail_domain = a@b\n"), testing::HasSubstr("'a@b' is no mail domain"));
}

TEST(Settings, WrongValuesAreNamedWithTheirLine) {
  const std::vector<std::string> bad{"[stintd]\nledger = here.db\n",
                                     "[stintd]\nlog_level = loud\n",
                                     "[stintd]\nprobe_interval = 1ms\n",
                                     "[stintd]\nprobe_interval = fast\n",
                                     "[stintd]\nthreads = 0\n",
                                     "[stintd]\nprobes_needed = 1\n",
                                     "[policy]\nbook = nobody\n",
                                     "[policy]\nbook = users:a,,b\n",
                                     "[policy]\nbook = operators users:a\n",
                                     "[policy]\nbook = accounts:\n",
                                     "[policy]\nmax_nodes = -1\n",
                                     "[policy]\nmax_duration = forever\n",
                                     "[price]\nnode_hour = cheap\n",
                                     "[price]\ncurrency = ten letters\n",
                                     "[stintd]\nlisten = here\n"};
  for (const auto& text : bad) {
    const std::string key = text.substr(text.find('\n') + 1, text.find(" =") - text.find('\n') - 1);
    EXPECT_THAT(error_of(text), testing::AllOf(testing::HasSubstr("stint.conf:2: '" + key + "': ")));
  }
}

}  // namespace
}  // namespace stint::reservations
