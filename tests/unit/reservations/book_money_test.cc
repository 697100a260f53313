// SPDX-License-Identifier: Apache-2.0
// Plans and money: what is quoted is booked, budgets hold, what is cancelled is given back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <thread>

#include "reservations/book.h"
#include "reservations/refusal.h"
#include "tests/unit/reservations/fake_cluster.h"
#include "tests/unit/reservations/scratch.h"

namespace stint::reservations {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::uint32_t kRoot = 0;
constexpr std::uint32_t kDaemon = 1;
constexpr std::int64_t kMonday = 1'795'392'000;  // 2026-11-23T00:00:00Z

class BookMoneyTest : public testing::Test {
 protected:
  BookMoneyTest() : cluster_(8, scratch_.path()), ledger_(scratch_.file("ledger.db")) {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
    cluster_.now = kMonday;
    auto& money = settings_.money;
    money.prices.node_hour = Rate::parse("1");
    PriceRule night;
    night.name = "night";
    night.hours = {hours{20}, hours{6}};
    night.percent = -50;
    money.prices.rules.push_back(night);
    money.prices.discounts.push_back({"long", hours{10}, {}, 0, 10});
    money.refund = {{{hours{1}, 50}}, 0};
    settings_.policy.book.everyone = true;
    restart_stintd();
  }

  void restart_stintd() {
    book_ = std::make_unique<Book>(
        cluster_, ledger_, metrics_, settings_, [this] { return cluster_.now; },
        [this](std::chrono::milliseconds pause) {
          cluster_.now += static_cast<double>(pause.count()) / 1000;
        });
  }
  sys_seconds now() const { return sys_seconds{seconds{static_cast<std::int64_t>(cluster_.now)}}; }
  PlanRequest request(const std::string& name, int nodes, hours from, hours length) {
    PlanRequest wanted;
    wanted.name = name;
    wanted.nodes = nodes;
    wanted.start = now() + from;
    wanted.duration = length;
    wanted.account = "physics";
    return wanted;
  }
  std::pair<int, std::string> refused(const PlanRequest& wanted, std::uint32_t uid = kRoot) {
    try {
      book_->create(wanted, uid);
    } catch (const Refusal& refusal) {
      return {refusal.status(), refusal.what()};
    }
    return {200, "booked"};
  }
  void set_budget(std::int64_t cents) {
    settings_.money.budgets.of_account["physics"] = {cents, false, Budget::Period::kMonth};
    restart_stintd();
  }

  Scratch scratch_;
  FakeCluster cluster_;
  Ledger ledger_;
  Metrics metrics_;
  Settings settings_;
  std::unique_ptr<Book> book_;
};

TEST_F(BookMoneyTest, WhatIsQuotedIsWhatIsBookedAndKept) {
  auto wanted = request("demo", 2, hours{0}, hours{12});  // six night hours, six others, the discount
  wanted.quote = true;
  const auto quote = book_->create(wanted, kRoot);
  EXPECT_EQ(quote.price.amount(), "16.20");
  EXPECT_EQ(quote.price.breakdown, "6 h night at 0.50, 6 h at 1.00 a node and hour, -10 % long");
  wanted.quote = false;
  EXPECT_EQ(book_->create(wanted, kRoot).price.amount(), "16.20");
  settings_.money.prices.node_hour = Rate::parse("100");
  restart_stintd();
  EXPECT_EQ(book_->show("demo").price.amount(), "16.20");
  EXPECT_EQ(book_->show("demo").price.breakdown, quote.price.breakdown);
  EXPECT_EQ(book_->show("demo").account, "physics");
}

TEST_F(BookMoneyTest, AnOfferCostsWhatItSaid) {
  OfferRequest search;
  search.query.nodes = 2;
  search.query.duration = hours{12};
  search.account = "physics";
  const auto found = book_->offers().search(search, kRoot);
  PlanRequest wanted;
  wanted.name = "demo";
  wanted.offer = found.offers.at(0).first;
  const auto plan = book_->create(wanted, kRoot);
  EXPECT_EQ(plan.price.cents, found.offers[0].second.price.cents);
  EXPECT_EQ(plan.price.amount(), "16.20");
  EXPECT_EQ(plan.account, "physics");  // as it was searched for
}

TEST_F(BookMoneyTest, NodesArePricedByWhatAllOfThemHave) {
  settings_.money.prices.gpu_hour = Rate::parse("10");
  for (auto& node : cluster_.nodes_) node.gpus = 4;
  cluster_.nodes_[7].gpus = 2;
  restart_stintd();
  EXPECT_EQ(book_->create(request("demo", 1, hours{6}, hours{1}), kRoot).price.amount(), "21.00");
}

// Else the GPUs of a partition of mixed nodes would be had for the price of its plainest node.
TEST_F(BookMoneyTest, AJobMayUseAsManyGpusAsWerePriced) {
  settings_.money.prices.gpu_hour = Rate::parse("10");
  for (std::size_t i = 0; i < 4; ++i) cluster_.nodes_[i].gpus = 8;
  cluster_.nodes_[4].gpus = 4;
  restart_stintd();
  auto wanted = request("some", 5, hours{6}, hours{1});
  wanted.gpus_per_node = 4;
  EXPECT_EQ(book_->create(wanted, kRoot).price.amount(), "205.00");
  EXPECT_EQ(book_->show("some").kind.gpus, 4);
  EXPECT_EQ(book_->create(request("none-asked", 3, hours{6}, hours{1}), kRoot).price.amount(), "3.00");
  EXPECT_EQ(book_->show("none-asked").kind.gpus, 0);
}

TEST_F(BookMoneyTest, ThePlainestNodesAreTakenWhereNobodyAsksForMore) {
  cluster_.nodes_[0].gpus = 4;
  cluster_.nodes_[1].features = {"fast"};
  EXPECT_THAT(book_->create(request("plain", 2, hours{6}, hours{1}), kRoot).segments[0].nodes,
              testing::UnorderedElementsAre("node3", "node4"));
}

TEST_F(BookMoneyTest, ABudgetIsHeldToTheCentAndSaysByHowMuch) {
  set_budget(1'000);
  EXPECT_EQ(refused(request("a", 4, hours{6}, hours{2})).first, 200);  // 8.00
  const auto [status, text] = refused(request("b", 1, hours{6}, hours{3}));
  EXPECT_EQ(status, 403);
  EXPECT_THAT(text,
              HasSubstr("plan b: costs 1.00 EUR too much: account physics has 2.00 of 10.00 EUR left in "
                        "2026-11"));
  EXPECT_FALSE(ledger_.find_plan("b"));
  EXPECT_FALSE(cluster_.reservations_.contains("b.0"));
  EXPECT_EQ(refused(request("c", 1, hours{6}, hours{2})).first, 200);  // to the last cent
  EXPECT_EQ(refused(request("d", 1, hours{6}, hours{1})).first, 403);
  EXPECT_EQ(refused(request("e", 1, hours{24 * 10}, hours{4})).first, 200);  // in December
  auto other = request("f", 1, hours{6}, hours{9});
  other.account = "maths";
  EXPECT_EQ(refused(other).first, 200);
}

TEST_F(BookMoneyTest, WhatIsGivenBackCanBeSpentAgain) {
  set_budget(1'000);
  ASSERT_EQ(refused(request("a", 4, hours{6}, hours{2})).first, 200);
  const auto cancelled = book_->cancel("a", kRoot, false);
  EXPECT_EQ(cancelled.refund_cents, 400);
  EXPECT_EQ(book_->show("a").refund_cents, 400);
  const auto history = book_->history("a");
  ASSERT_EQ(history.size(), 3U);
  EXPECT_EQ(history[1].detail, "4.00 of 8.00 EUR given back (50 %: 01:00:00 or more before its start)");
  EXPECT_EQ(refused(request("b", 1, hours{6}, hours{6})).first, 200);
  EXPECT_EQ(refused(request("c", 1, hours{6}, hours{1})).first, 403);
}

TEST_F(BookMoneyTest, AKillInTheMiddleOfACancelKeepsTheRefund) {
  ASSERT_EQ(refused(request("a", 4, hours{6}, hours{2})).first, 200);
  cluster_.add_job(7, {}, "a.0").state = JobState::kPending;
  cluster_.cancels_work = false;
  EXPECT_THROW(book_->cancel("a", kRoot, true), ClusterError);
  EXPECT_EQ(book_->show("a").phase, Phase::kCancelling);
  cluster_.jobs_.clear();
  cluster_.now += 7'200;  // the refund is that of the moment in which it was asked for
  restart_stintd();
  book_->reconcile();
  EXPECT_EQ(book_->show("a").phase, Phase::kCancelled);
  EXPECT_EQ(book_->show("a").refund_cents, 400);
}

TEST_F(BookMoneyTest, AnExtensionIsHeldToTheBudgetToo) {
  set_budget(900);
  ASSERT_EQ(refused(request("a", 4, hours{6}, hours{2})).first, 200);
  ExtendRequest more;
  more.duration = hours{1};
  try {
    book_->offer_extension("a", more, kRoot);
    FAIL() << "was offered";
  } catch (const Refusal& refusal) {
    EXPECT_EQ(refusal.status(), 403);
    EXPECT_THAT(refusal.what(), HasSubstr("costs 3.00 EUR too much"));
  }
  set_budget(1'200);
  const auto offers = book_->offer_extension("a", more, kRoot).offers;
  ASSERT_FALSE(offers.empty());
  const auto extended = book_->extend("a", offers[0].first, kRoot);
  EXPECT_EQ(extended.price.amount(), "12.00");
  EXPECT_THAT(book_->show("a").price.breakdown,
              testing::StartsWith("2 h at 1.00 a node and hour; 4.00 more for an extension to "));
  EXPECT_EQ(ledger_.charged("physics", "EUR", {now(), now() + hours{24}}), 1'200);
}

TEST_F(BookMoneyTest, WhatIsGivenUpComesBackByTheRefundRule) {
  ASSERT_EQ(refused(request("a", 4, hours{6}, hours{2})).first, 200);
  ShrinkRequest less;
  less.nodes = 2;
  EXPECT_EQ(book_->shrink("a", less, kRoot).price.amount(), "6.00");  // half of 4.00 comes back
}

TEST_F(BookMoneyTest, AShrinkTakesOffWhatWasPaidNotWhatItWouldCostToday) {
  settings_.money.prices.discounts.push_back({"early", {}, hours{48}, 0, 50});
  settings_.money.refund = {};
  restart_stintd();
  ASSERT_EQ(book_->create(request("a", 8, hours{54}, hours{2}), kRoot).price.amount(), "8.00");
  cluster_.now += 24 * 3'600;  // the discount would be gone
  ShrinkRequest less;
  less.nodes = 2;
  EXPECT_EQ(book_->shrink("a", less, kRoot).price.amount(), "2.00");
  EXPECT_EQ(book_->cancel("a", kRoot, false).refund_cents, 200);
}

TEST_F(BookMoneyTest, AShrinkAndACancelGiveBackNoMoreThanACancel) {
  ASSERT_EQ(refused(request("a", 4, hours{6}, hours{2})).first, 200);  // 8.00, half of it comes back
  ShrinkRequest less;
  less.nodes = 1;
  EXPECT_EQ(book_->shrink("a", less, kRoot).price.amount(), "5.00");
  EXPECT_EQ(book_->cancel("a", kRoot, false).refund_cents, 100);  // half of the 2.00 that were left
}

TEST_F(BookMoneyTest, HoursThatAreUsedArePaidForWhateverBecomesOfThePlan) {
  settings_.money.refund.after_start = 100;
  restart_stintd();
  ASSERT_EQ(book_->create(request("a", 4, hours{6}, hours{2}), kRoot).price.amount(), "8.00");
  cluster_.now += 7 * 3'600;
  ShrinkRequest less;
  less.nodes = 1;
  EXPECT_EQ(book_->shrink("a", less, kRoot).price.amount(), "5.00");
  ExtendRequest more;
  more.duration = hours{4};
  book_->extend("a", book_->offer_extension("a", more, kRoot).offers.at(0).first, kRoot);
  EXPECT_EQ(book_->show("a").price.amount(), "9.00");
  EXPECT_EQ(book_->cancel("a", kRoot, false).refund_cents, 500);  // 4.00 for 4 node-hours stay
}

TEST_F(BookMoneyTest, ChangesArePricedByTheClassThatWasBooked) {
  settings_.money.prices.gpu_hour = Rate::parse("10");
  settings_.money.refund = {};
  for (std::size_t i = 0; i < 4; ++i) cluster_.nodes_[i].gpus = 4;  // those it gets
  restart_stintd();
  ASSERT_EQ(book_->create(request("a", 4, hours{6}, hours{2}), kRoot).price.amount(), "8.00");
  ExtendRequest more;
  more.duration = hours{1};
  EXPECT_EQ(book_->offer_extension("a", more, kRoot).offers.at(0).second.adds_cents, 400);
  ShrinkRequest less;
  less.nodes = 3;
  EXPECT_EQ(book_->shrink("a", less, kRoot).price.amount(), "6.00");
}

TEST_F(BookMoneyTest, AnOfferForAPlanThatHasChangedSinceIsRefused) {
  ASSERT_EQ(refused(request("a", 6, hours{6}, hours{2})).first, 200);
  ExtendRequest more;
  more.nodes = 7;
  const auto id = book_->offer_extension("a", more, kRoot).offers.at(0).first;
  ShrinkRequest less;
  less.nodes = 1;
  book_->shrink("a", less, kRoot);
  try {
    book_->extend("a", id, kRoot);
    FAIL() << "was extended";
  } catch (const Refusal& refusal) {
    EXPECT_EQ(refusal.status(), 409);
    EXPECT_THAT(refusal.what(), HasSubstr("plan a has changed since; ask again with 'stint plan extend a'"));
  }
}

TEST_F(BookMoneyTest, OfTwoBookingsAtOnceOnlyOneFitsTheBudget) {
  set_budget(800);
  std::vector<int> statuses(8);
  std::vector<std::thread> bookers;
  for (std::size_t i = 0; i < statuses.size(); ++i) {
    bookers.emplace_back(
        [&, i] { statuses[i] = refused(request("p" + std::to_string(i), 1, hours{6}, hours{8})).first; });
  }
  for (auto& booker : bookers) booker.join();
  EXPECT_EQ(std::count(statuses.begin(), statuses.end(), 200), 1);
  EXPECT_EQ(std::count(statuses.begin(), statuses.end(), 403), 7);
}

TEST_F(BookMoneyTest, ASearchWarnsOfWhatTheAccountCannotPay) {
  set_budget(100);
  OfferRequest search;
  search.query.nodes = 2;
  search.query.duration = hours{1};
  search.query.after = now() + hours{6};
  search.account = "physics";
  EXPECT_THAT(book_->offers().search(search, kRoot).warning,
              HasSubstr("account physics has 1.00 of 1.00 EUR left in 2026-11; it cannot book o"));
  search.query.nodes = 1;
  EXPECT_EQ(book_->offers().search(search, kRoot).warning, "");
}

TEST_F(BookMoneyTest, WithoutSlurmdbdPlansAreChargedToTheOwnersNameOrGroups) {
  auto wanted = request("a", 1, hours{6}, hours{1});
  wanted.account.clear();
  EXPECT_EQ(book_->create(wanted, kDaemon).account, "daemon");
  wanted = request("b", 1, hours{6}, hours{1});
  const auto [status, text] = refused(wanted, kDaemon);
  EXPECT_EQ(status, 403);
  EXPECT_THAT(text, HasSubstr("plan b: account physics is not yours; you may charge daemon"));
  wanted.account = "no/account";
  EXPECT_EQ(refused(wanted, kDaemon).first, 400);
}

TEST_F(BookMoneyTest, AccountsOfSlurmdbdComeWithTheirDefault) {
  cluster_.accounts_[kDaemon] = {"physics", "maths"};
  auto wanted = request("a", 1, hours{6}, hours{1});
  wanted.account.clear();
  EXPECT_EQ(book_->create(wanted, kDaemon).account, "physics");
  wanted = request("b", 1, hours{6}, hours{1});
  wanted.account = "maths";
  EXPECT_EQ(book_->create(wanted, kDaemon).account, "maths");
  wanted = request("c", 1, hours{6}, hours{1});
  wanted.account = "daemon";
  EXPECT_EQ(refused(wanted, kDaemon).first, 403);
  const auto visible = book_->accounts().visible("report", "", kDaemon);
  EXPECT_TRUE(visible("maths"));
  EXPECT_FALSE(visible("chemistry"));
  EXPECT_THROW(book_->accounts().visible("report", "chemistry", kDaemon), Refusal);
  EXPECT_TRUE(book_->accounts().visible("report", "", kRoot)("chemistry"));
}

TEST_F(BookMoneyTest, ReconcileMeasuresWhatIsUsed) {
  ASSERT_EQ(refused(request("a", 2, hours{0}, hours{1})).first, 200);
  book_->reconcile();
  const auto nodes = book_->show("a").segments[0].nodes;
  cluster_.add_job(7, {nodes[0]}, "a.0").started = now();
  cluster_.now += 20;
  book_->reconcile();
  const auto rows = ledger_.usage(book_->show("a").id);
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].spent.used, 20);
  EXPECT_EQ(rows[0].spent.idle, 20);
}

}  // namespace
}  // namespace stint::reservations
