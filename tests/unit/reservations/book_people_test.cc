// SPDX-License-Identifier: Apache-2.0
// Plans that members of accounts use, and who may book and approve by account.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reservations/kill_point.h"
#include "tests/unit/reservations/book_fixture.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr std::uint32_t kDaemon = 1, kBin = 2, kGames = 5;

// daemon charges physics and coordinates chem; bin charges physics; games chem.
class PeopleTest : public BookTest {
 protected:
  PeopleTest() {
    settings_.policy.book.everyone = true;
    cluster_.members_ = Cluster::Members{{"physics", {"daemon", "bin"}}, {"chem", {"games"}}, {"empty", {}}};
    cluster_.accounts_ = {{kDaemon, {"physics"}}, {kBin, {"physics"}}, {kGames, {"chem"}}};
    cluster_.coordinators_ = {{kDaemon, {"chem"}}};
    restart_stintd();
  }
  Plan book(const std::vector<std::string>& accounts, std::uint32_t uid = kDaemon) {
    auto wanted = request("demo", 2, 0);
    wanted.accounts = accounts;
    return book_->create(wanted, uid);
  }
  ShareRequest share(const std::vector<std::string>& add, const std::vector<std::string>& remove) {
    ShareRequest request;
    request.add_accounts = add;
    request.remove_accounts = remove;
    return request;
  }
  void look_again() {
    cluster_.now += 30;
    book_->reconcile();
  }
  std::vector<std::string> reservation_users() { return cluster_.reservations_.at("demo.0").users; }
  bool may_submit(std::uint32_t uid) { return table().plans.at(0).may_submit(uid); }
};

TEST_F(PeopleTest, MembersOfAPlansAccountsMayUseItAndNobodyElse) {
  const auto plan = book({"physics"});
  EXPECT_THAT(plan.users, ElementsAre("daemon"));
  EXPECT_THAT(plan.members, ElementsAre("bin"));
  EXPECT_THAT(reservation_users(), ElementsAre("daemon", "bin"));
  EXPECT_TRUE(may_submit(kDaemon));
  EXPECT_TRUE(may_submit(kBin));
  EXPECT_FALSE(may_submit(kGames));
}

TEST_F(PeopleTest, AnAccountThatIsNotThereOrNotOnesOwnIsRefusedByName) {
  EXPECT_EQ(refusal([&] {
              book({"physics", "alchemy"});
            }),
            "plan demo: there is no account 'alchemy' on this cluster");
  EXPECT_EQ(status([&] { book({"no account!"}); }), 400);
  EXPECT_THAT(refusal([&] { book({"physics"}, kGames); }), HasSubstr("account physics is not yours"));
  EXPECT_EQ(status([&] { book({"physics"}, kGames); }), 403);
  EXPECT_TRUE(cluster_.reservations_.empty());
  EXPECT_EQ(status([&] { book({"physics", "chem"}); }), 200);  // coordinated
  EXPECT_EQ(status([&] { book_->share("demo", share({"empty"}, {}), kDaemon); }), 403);
  EXPECT_EQ(status([&] { book_->share("demo", share({"empty"}, {}), kRoot); }), 200);
}

TEST_F(PeopleTest, AMemberWhoComesLaterIsLetInAndOneWhoLeavesGoes) {
  book({"physics"});
  (*cluster_.members_)["physics"] = {"daemon", "games"};
  look_again();
  EXPECT_THAT(reservation_users(), UnorderedElementsAre("daemon", "games"));
  EXPECT_TRUE(may_submit(kGames));
  EXPECT_FALSE(may_submit(kBin));
  const auto last = book_->history("demo").back();
  EXPECT_EQ(last.who, "stintd");
  EXPECT_EQ(last.action, "members changed");
  EXPECT_EQ(last.detail, "+games, -bin");
  const auto entries = book_->history("demo").size();
  look_again();
  EXPECT_EQ(book_->history("demo").size(), entries);
}

TEST_F(PeopleTest, AMemberWhoLeavesWithAJobInThePlanStaysUntilItEnds) {
  book({"physics"});
  cluster_.add_job(7, {"node1"}, "demo.0").uid = kBin;
  (*cluster_.members_)["physics"] = {"daemon"};
  look_again();
  EXPECT_TRUE(may_submit(kBin));
  cluster_.jobs_.clear();
  look_again();
  EXPECT_FALSE(may_submit(kBin));
  EXPECT_THAT(reservation_users(), ElementsAre("daemon"));
}

TEST_F(PeopleTest, AnAccountThatIsRemovedFromSlurmdbdHasNoMembersAnyMore) {
  book({"physics"});
  cluster_.members_->erase("physics");
  look_again();
  EXPECT_THAT(book_->show("demo").members, IsEmpty());
  EXPECT_THAT(reservation_users(), ElementsAre("daemon"));
}

TEST_F(PeopleTest, AChangeOfMembersThatSlurmRefusesIsTriedOnceNotForEver) {
  book({"physics"});
  (*cluster_.members_)["physics"] = {"daemon", "games"};
  cluster_.refuses_updates = true;
  look_again();
  const auto entries = book_->history("demo").size();
  look_again();
  EXPECT_EQ(book_->history("demo").size(), entries);
  EXPECT_FALSE(may_submit(kGames));
  cluster_.refuses_updates = false;
  (*cluster_.members_)["physics"] = {"daemon", "bin", "games"};
  look_again();
  EXPECT_TRUE(may_submit(kGames));
}

TEST_F(PeopleTest, KilledWhileMembersChangeTheNextStintdCompletesIt) {
  for (const char* point : {"ledger.begin_change", "slurm.update_reservation", "ledger.finish_change"}) {
    cluster_.reservations_.clear();
    ledger_.find_plan("demo") ? book_->cancel("demo", kDaemon, false) : Plan{};
    (*cluster_.members_)["physics"] = {"daemon", "bin"};
    book({"physics"});
    (*cluster_.members_)["physics"] = {"daemon", "games"};
    set_kill_handler([point](std::string_view name) {
      if (name == point) throw FakeCluster::Killed();
    });
    EXPECT_THROW(look_again(), FakeCluster::Killed) << point;
    set_kill_handler({});
    restart_stintd();
    look_again();
    EXPECT_THAT(reservation_users(), UnorderedElementsAre("daemon", "games")) << point;
    EXPECT_TRUE(may_submit(kGames)) << point;
    EXPECT_FALSE(ledger_.open_change(ledger_.find_plan("demo")->id)) << point;
  }
}

TEST_F(PeopleTest, AccountsAreSharedWithAndTakenAwayAgain) {
  book({});
  EXPECT_FALSE(may_submit(kBin));
  book_->share("demo", share({"physics"}, {}), kDaemon);
  EXPECT_TRUE(may_submit(kBin));
  EXPECT_EQ(book_->history("demo").back().detail, "users daemon -> users daemon accounts physics");
  cluster_.add_job(7, {"node1"}, "demo.0").uid = kBin;
  EXPECT_THAT(refusal([&] { book_->share("demo", share({}, {"physics"}), kDaemon); }),
              HasSubstr("job 7 of bin runs in it"));
  cluster_.jobs_.clear();
  book_->share("demo", share({}, {"physics"}), kDaemon);
  EXPECT_FALSE(may_submit(kBin));
  EXPECT_THAT(refusal([&] { book_->share("demo", share({}, {"physics"}), kDaemon); }),
              HasSubstr("none of its accounts"));
}

TEST_F(PeopleTest, AMemberWhoIsAlsoNamedIsOneUserAndStaysWithoutTheAccount) {
  book({"physics"});
  ShareRequest more;
  more.add = {"bin"};
  book_->share("demo", more, kDaemon);
  EXPECT_THAT(book_->show("demo").members, IsEmpty());
  book_->share("demo", share({}, {"physics"}), kDaemon);
  EXPECT_TRUE(may_submit(kBin));
  EXPECT_THAT(reservation_users(), ElementsAre("daemon", "bin"));
}

TEST_F(PeopleTest, WithoutSlurmdbdAnAccountIsTheUnixGroupOfThatName) {
  cluster_.members_.reset();
  cluster_.accounts_.clear();
  EXPECT_THAT(book({"games"}, kRoot).members, ElementsAre("games"));
  EXPECT_THAT(refusal([&] { book_->share("demo", share({"no-such-group"}, {}), kRoot); }),
              HasSubstr("there is no account 'no-such-group'"));
}

TEST_F(PeopleTest, AccountsComeBackFromTheLedger) {
  book({"physics", "chem"});
  const Ledger again(scratch_.file("ledger.db"));
  const auto plan = again.find_plan("demo");
  EXPECT_THAT(plan->accounts, ElementsAre("physics", "chem"));
  EXPECT_THAT(plan->members, ElementsAre("bin", "games"));
  EXPECT_THAT(plan->member_uids, ElementsAre(kBin, kGames));
}

TEST_F(PeopleTest, MembersOfAnAccountMayBook) {
  settings_.policy.book = parse_who("accounts:physics");
  restart_stintd();
  EXPECT_EQ(status([&] { book({}, kBin); }), 200);
  EXPECT_THAT(refusal([&] { book_->create(request("other", 1, 0), kGames); }),
              HasSubstr("may not book plans here"));
}

TEST_F(PeopleTest, AMemberOfAnAccountBelowMayBook) {
  settings_.policy.book = parse_who("accounts:science");
  restart_stintd();
  (*cluster_.members_)["science"] = {"games"};  // charges chem, which is below it
  EXPECT_EQ(status([&] { book({}, kGames); }), 200);
  EXPECT_EQ(status([&] { book({}, kBin); }), 403);
}

TEST_F(PeopleTest, ACoordinatorBooksForTheAccountsHeCoordinatesOnly) {
  settings_.policy.book = parse_who("coordinators");
  restart_stintd();
  auto wanted = request("demo", 1, 0);
  EXPECT_EQ(
      refusal([&] { book_->create(wanted, kDaemon); }),
      "plan demo: user daemon may not book plans for account physics; name another --account, or ask its "
      "coordinator or an operator ([policy] book)");
  wanted.account = "chem";
  EXPECT_EQ(book_->create(wanted, kDaemon).account, "chem");
  wanted.name = "other";
  EXPECT_EQ(status([&] { book_->create(wanted, kGames); }), 403);  // a member, no coordinator
}

TEST_F(PeopleTest, ACoordinatorApprovesPlansOfHisAccountsOnly) {
  settings_.policy.approve_above_nodes = 0;
  settings_.policy.approvers = parse_who("coordinators");
  restart_stintd();
  book({}, kGames);
  EXPECT_EQ(status([&] { book_->approve("demo", kBin); }), 403);
  EXPECT_EQ(book_->approve("demo", kDaemon).phase, Phase::kBooked);
  EXPECT_EQ(book_->create(request("other", 1, 0), kBin).phase, Phase::kPending);
  EXPECT_THAT(refusal([&] { book_->approve("other", kDaemon); }),
              HasSubstr("may not approve plans of account physics"));
  auto own = request("own", 1, 0);
  own.account = "chem";
  EXPECT_EQ(book_->create(own, kDaemon).phase, Phase::kBooked);
}

TEST_F(PeopleTest, AMemberOfAnAccountApprovesAndNeedsNoApproval) {
  settings_.policy.approve_above_nodes = 0;
  settings_.policy.approvers = parse_who("accounts:physics");
  restart_stintd();
  book({}, kGames);
  EXPECT_EQ(status([&] { book_->approve("demo", kGames); }), 403);
  EXPECT_EQ(book_->approve("demo", kBin).phase, Phase::kBooked);
  EXPECT_EQ(book_->create(request("other", 1, 0), kBin).phase, Phase::kBooked);
}

TEST_F(PeopleTest, NothingBeginsSoonerThanMinLead) {
  settings_.policy.min_lead = std::chrono::hours{1};
  restart_stintd();
  auto wanted = request("demo", 1, 0);
  EXPECT_THAT(refusal([&] { book_->create(wanted, kRoot); }),
              HasSubstr("starts sooner than 01:00:00 from now ([policy] min_lead); start it "));
  wanted.start = now() + seconds{3'600};
  EXPECT_EQ(status([&] { book_->create(wanted, kRoot); }), 200);
}

OfferRequest search_for(int nodes, seconds duration) {
  OfferRequest wanted;
  wanted.query.nodes = static_cast<std::size_t>(nodes);
  wanted.query.duration = wanted.query.min_segment = duration;
  return wanted;
}

TEST_F(PeopleTest, OffersBeginAfterMinLeadAndCanBeBooked) {
  settings_.policy.min_lead = std::chrono::hours{1};
  restart_stintd();
  auto wanted = search_for(1, seconds{600});
  const auto answer = book_->offers().search(wanted, kRoot);
  ASSERT_FALSE(answer.offers.empty());
  EXPECT_GE(answer.offers[0].second.segments[0].window.start, now() + seconds{3'600});
  cluster_.now += 120;
  auto by_offer = request("demo", 0, 0);
  by_offer.offer = answer.offers[0].first;
  EXPECT_EQ(book_->create(by_offer, kRoot).segments[0].start,
            answer.offers[0].second.segments[0].window.start);
  wanted.query.before = now() + seconds{1'200};
  EXPECT_THAT(book_->offers().search(wanted, kRoot).reason, HasSubstr("([policy] min_lead)"));
}

TEST_F(PeopleTest, NoOfferLiesBehindMaxLeadAndTheReasonSaysSo) {
  settings_.policy.max_lead = std::chrono::hours{1};
  restart_stintd();
  cluster_.reservations_["all"] = {"all", now(), now() + std::chrono::hours{10}, {}, {}, "main"};
  for (int i = 1; i <= 8; ++i) cluster_.reservations_["all"].nodes.push_back("node" + std::to_string(i));
  auto wanted = search_for(1, seconds{600});
  wanted.query.before = now() + std::chrono::hours{20};
  const auto answer = book_->offers().search(wanted, kRoot);
  EXPECT_THAT(answer.reason, HasSubstr("([policy] max_lead)"));
  EXPECT_THAT(answer.remedy, testing::Not(HasSubstr("all of it fits from")));
}

TEST_F(PeopleTest, AnExtensionKeepsMinLeadToo) {
  auto wanted = request("demo", 1, 0);
  wanted.duration = seconds{1'800};
  book_->create(wanted, kRoot);
  settings_.policy.min_lead = std::chrono::hours{1};
  restart_stintd();
  ExtendRequest more;
  more.duration = seconds{600};
  const auto answer = book_->offer_extension("demo", more, kRoot);
  ASSERT_FALSE(answer.offers.empty());
  EXPECT_GE(answer.offers[0].second.wanted.segments.back().start, now() + seconds{3'600});
  ExtendRequest wider;
  wider.nodes = 2;
  EXPECT_THAT(refusal([&] { book_->offer_extension("demo", wider, kRoot); }), HasSubstr("[policy] min_lead"));
}

TEST_F(PeopleTest, OnlyNodesWithAnAllowedFeatureGoIntoPlans) {
  settings_.policy.allowed_features = {"a100", "v100"};
  cluster_.find_node("node2").features = {"a100", "infiniband"};
  cluster_.find_node("node5").features = {"v100"};
  cluster_.find_node("node6").features = {"h100"};
  restart_stintd();
  EXPECT_THAT(book_->create(request("demo", 2, 0), kRoot).segments[0].nodes,
              UnorderedElementsAre("node2", "node5"));
  EXPECT_THAT(refusal([&] { book_->create(request("more", 1, 0), kRoot); }),
              HasSubstr("; partition main has 8 nodes, 6 of them are not for plans ([policy] "
                        "allowed_features): 2 are left;"));
  auto wanted = search_for(1, seconds{600});
  wanted.kind.features = {"h100"};
  EXPECT_THAT(book_->offers().search(wanted, kRoot).reason,
              HasSubstr("1 node of partition main has feature h100, 1 of them is not for plans ([policy] "
                        "allowed_features): none is left"));
}

TEST_F(PeopleTest, WhatBoundsTheTimeOfItsJobsIsInThePlanTable) {
  cluster_.walls_.qos = {{"short", std::chrono::minutes{30}, false, false}};
  book({});
  EXPECT_EQ(table().limits.qos.at(0).name, "short");
  cluster_.walls_ = {};
  look_again();
  EXPECT_TRUE(table().limits.qos.empty());
}

}  // namespace
}  // namespace stint::reservations
