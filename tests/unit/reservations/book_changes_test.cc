// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/reservations/book_fixture.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

// demo: four nodes and a spare of eight for ten minutes, from now on.
class BookChangesTest : public BookTest {
 protected:
  BookChangesTest() { book_->create(request(), kRoot); }

  ExtendRequest longer(seconds by = seconds{600}) {
    ExtendRequest wanted;
    wanted.duration = by;
    return wanted;
  }
  std::string first_offer(const ExtendRequest& wanted) {
    const auto answer = book_->offer_extension("demo", wanted, kRoot);
    return answer.offers.empty() ? answer.reason : answer.offers.front().first;
  }
  ClusterReservation& reservation(const std::string& name = "demo.0") {
    return cluster_.reservations_.at(name);
  }
  // The process ends after `calls` more changes in Slurm.
  void kill_after(int calls) {
    const auto hook = [this, left = std::make_shared<int>(calls)] {
      if (--*left <= 0) throw std::runtime_error("killed");
    };
    cluster_.after_create = cluster_.after_update = hook;
  }
  void revive() {
    cluster_.after_create = cluster_.after_update = nullptr;
    restart_stintd();
    book_->reconcile();
  }
};

TEST_F(BookChangesTest, ExtendedInTimeTheReservationTheLedgerAndTheTableAgree) {
  const auto before = book_->show("demo");
  const auto plan = book_->extend("demo", first_offer(longer()), kRoot);
  EXPECT_EQ(plan.segments[0].end, before.segments[0].end + seconds{600});
  EXPECT_EQ(reservation().end, plan.segments[0].end);
  EXPECT_EQ(plan.price.amount(), "3.33");
  EXPECT_EQ(book_->show("demo").segments[0].end, plan.segments[0].end);
  EXPECT_EQ(table().plans[0].segments[0].end, plan.segments[0].end);
  EXPECT_EQ(book_->history("demo").back().action, "extended");
  EXPECT_THAT(book_->history("demo").back().detail, HasSubstr("1.66 EUR more"));
}

TEST_F(BookChangesTest, ExtendedInNodesTheyComeOnTop) {
  ExtendRequest wanted;
  wanted.nodes = 6;
  const auto plan = book_->extend("demo", first_offer(wanted), kRoot);
  EXPECT_EQ(plan.nodes, 6);
  EXPECT_EQ(plan.spares, 1);
  EXPECT_THAT(reservation().nodes, SizeIs(7));
  wanted.nodes = 4;
  EXPECT_THROW(book_->offer_extension("demo", wanted, kRoot), Refusal);
  wanted.nodes = 9;
  EXPECT_THAT(first_offer(wanted), HasSubstr("are free all that time"));
}

TEST_F(BookChangesTest, AnExtensionWhoseNodesAreGoneIsRefused) {
  const auto offer = first_offer(longer());
  cluster_.reservations_["other"] = {"other", now() + seconds{700}, now() + seconds{800}, {"node1"}, {"bob"},
                                     "main"};
  EXPECT_THAT(refusal([&] { book_->extend("demo", offer, kRoot); }), HasSubstr("node1 is no longer free"));
  EXPECT_EQ(reservation().end, now() + seconds{600});
  EXPECT_THAT(refusal([&] { book_->extend("demo", "oxxxxx", kRoot); }), HasSubstr("stint plan extend"));
}

TEST_F(BookChangesTest, WhatSlurmRefusesLeavesThePlanAsItWas) {
  const auto offer = first_offer(longer());
  cluster_.after_update = [this] {
    cluster_.after_update = nullptr;
    throw ClusterError(ClusterError::Code::kBusy, "Requested nodes are busy");
  };
  EXPECT_THAT(refusal([&] { book_->extend("demo", offer, kRoot); }), HasSubstr("is as it was"));
  EXPECT_EQ(reservation().end, now() + seconds{600});
  EXPECT_EQ(book_->show("demo").segments[0].end, now() + seconds{600});
  EXPECT_EQ(book_->history("demo").back().action, "not extended");
  book_->extend("demo", first_offer(longer()), kRoot);  // nothing is in its way
}

TEST_F(BookChangesTest, KilledInTheMiddleTheChangeIsCompleted) {
  const auto offer = first_offer(longer());
  kill_after(1);
  EXPECT_THROW(book_->extend("demo", offer, kRoot), std::runtime_error);
  EXPECT_EQ(book_->show("demo").segments[0].end, now() + seconds{600});  // the ledger is behind
  revive();
  EXPECT_EQ(book_->show("demo").segments[0].end, now() + seconds{1200});
  EXPECT_EQ(reservation().end, now() + seconds{1200});
  EXPECT_EQ(book_->history("demo").back().action, "extended");
  EXPECT_EQ(table().plans[0].segments[0].end, now() + seconds{1200});
  EXPECT_EQ(book_->list().size(), 1U);
}

TEST_F(BookChangesTest, KilledInTheMiddleAndNoLongerPossibleTheChangeIsUndone) {
  cluster_.reservations_["wall"] = {"wall", now() + seconds{900}, now() + seconds{2'000}, {"node1"}, {"bob"},
                                    "main"};
  const auto offer = first_offer(longer());  // another segment
  ASSERT_THAT(offer, SizeIs(6));
  cluster_.away = false;
  kill_after(1);
  EXPECT_THROW(book_->extend("demo", offer, kRoot), std::runtime_error);
  const auto made = cluster_.reservations_.at("demo.1");
  cluster_.reservations_.erase("demo.1");
  cluster_.reservations_["other"] = {"other", made.start, made.end, made.nodes, {"bob"}, "main"};
  revive();
  EXPECT_EQ(book_->show("demo").segments.size(), 1U);
  EXPECT_FALSE(cluster_.reservations_.contains("demo.1"));
  EXPECT_EQ(book_->history("demo").back().action, "not extended");
}

TEST_F(BookChangesTest, SlurmAwayLeavesItToBeSettled) {
  const auto offer = first_offer(longer());
  cluster_.after_update = [] {
    throw ClusterError(ClusterError::Code::kUnreachable, "slurmctld: no answer");
  };
  EXPECT_EQ(status([&] { book_->extend("demo", offer, kRoot); }), 503);
  EXPECT_THAT(refusal([&] { book_->cancel("demo", kRoot, false); }),
              HasSubstr("a change of it is on its way"));
  cluster_.after_update = nullptr;
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").segments[0].end, now() + seconds{1200});
}

TEST_F(BookChangesTest, AReservationOfAnotherThatHasTheNextNameIsNeverTouched) {
  cluster_.reservations_["wall"] = {"wall", now() + seconds{900}, now() + seconds{2'000}, {"node1"}, {"bob"},
                                    "main"};
  const auto offer = first_offer(longer());
  const ClusterReservation others{
      "demo.1", now() + seconds{9'000}, now() + seconds{9'900}, {"node2"}, {"bob"}, "main"};
  cluster_.reservations_["demo.1"] = others;
  EXPECT_THAT(refusal([&] { book_->extend("demo", offer, kRoot); }), HasSubstr("demo.1 exists already"));
  EXPECT_EQ(reservation("demo.1").end, others.end);
  EXPECT_EQ(book_->show("demo").segments.size(), 1U);
}

TEST_F(BookChangesTest, ShrunkItGivesNodesAndTimeBack) {
  ShrinkRequest less;
  less.nodes = 2;
  less.spares = 0;
  less.quote = true;
  EXPECT_EQ(book_->shrink("demo", less, kRoot).nodes, 2);
  EXPECT_THAT(reservation().nodes, SizeIs(5));  // only asked
  less.quote = false;
  EXPECT_THAT(book_->shrink("demo", less, kRoot).segments[0].nodes, SizeIs(2));
  EXPECT_THAT(reservation().nodes, SizeIs(2));
  ShrinkRequest shorter;
  shorter.until = now() + seconds{300};
  book_->shrink("demo", shorter, kRoot);
  EXPECT_EQ(reservation().end, now() + seconds{300});
  shorter.until = now() + seconds{400};
  EXPECT_THAT(refusal([&] { book_->shrink("demo", shorter, kRoot); }), HasSubstr("ends"));
}

TEST_F(BookChangesTest, ShrinkingTakesNoNodeFromAJob) {
  cluster_.add_job(7, {"node1", "node2", "node3"}, "demo.0");
  ShrinkRequest less;
  less.nodes = 2;
  less.spares = 0;
  EXPECT_THAT(refusal([&] { book_->shrink("demo", less, kRoot); }), HasSubstr("its jobs run on 3 nodes"));
  less.nodes = 3;
  EXPECT_THAT(book_->shrink("demo", less, kRoot).segments[0].nodes, ElementsAre("node1", "node2", "node3"));
}

TEST_F(BookChangesTest, SharedWithAUserHeMaySubmit) {
  ShareRequest more;
  more.add = {"daemon"};
  book_->share("demo", more, kRoot);
  EXPECT_THAT(reservation().users, ElementsAre("root", "daemon"));
  EXPECT_TRUE(table().plans[0].may_submit(1));
  EXPECT_THAT(refusal([&] {
                book_->share("demo", {{"nobody-of-that-name"}, {}, {}, {}}, kRoot);
              }),
              HasSubstr("there is no user"));
  EXPECT_THAT(refusal([&] { book_->share("demo", {{}, {"root"}, {}, {}}, kRoot); }), HasSubstr("transfer"));
  cluster_.add_job(7, {"node1"}, "demo.0").uid = 1;
  EXPECT_THAT(refusal([&] {
                book_->share("demo", {{}, {"daemon"}, {}, {}}, kRoot);
              }),
              HasSubstr("job 7 of daemon runs in it"));
  cluster_.jobs_[7].state = JobState::kPending;  // it waits in vain from now on, and is told so
  book_->share("demo", {{}, {"daemon"}, {}, {}}, kRoot);
  EXPECT_FALSE(table().plans[0].may_submit(1));
}

TEST_F(BookChangesTest, TransferredItObeysItsNewOwner) {
  EXPECT_EQ(status([&] { book_->cancel("demo", 1, false); }), 403);
  book_->transfer("demo", "daemon", kRoot);
  EXPECT_EQ(book_->show("demo").owner, "daemon");
  EXPECT_TRUE(table().plans[0].may_submit(1));
  EXPECT_EQ(status([&] { book_->cancel("demo", 1, false); }), 200);
}

TEST_F(BookChangesTest, OnlyOwnerAndOperatorsChangeAPlan) {
  EXPECT_EQ(status([&] { book_->share("demo", {{"daemon"}, {}, {}, {}}, 1); }), 403);
  EXPECT_EQ(status([&] { book_->transfer("demo", "daemon", 1); }), 403);
  ShrinkRequest shorter;
  shorter.until = now() + seconds{300};
  EXPECT_EQ(status([&] { book_->shrink("demo", shorter, 1); }), 403);
  EXPECT_EQ(status([&] { book_->offer_extension("demo", longer(), 1); }), 403);
}

TEST_F(BookChangesTest, AnExtensionIsHeldToThePolicy) {
  settings_.policy.max_duration = seconds{900};
  restart_stintd();
  EXPECT_THAT(refusal([&] { book_->offer_extension("demo", longer(), kRoot); }), HasSubstr("max_duration"));
}

class ApprovalTest : public BookTest {
 protected:
  ApprovalTest() {
    settings_.policy.book.everyone = true;
    settings_.policy.approve_above_nodes = 3;
    settings_.policy.approvers.users = {"bin"};
    restart_stintd();
  }
  Plan ask(int nodes) {
    auto wanted = request("demo", nodes, 0);
    wanted.start = now() + seconds{300};
    return book_->create(wanted, 1);  // daemon
  }
};

TEST_F(ApprovalTest, ALargePlanIsReservedAndWaits) {
  EXPECT_EQ(ask(4).phase, Phase::kPending);
  EXPECT_TRUE(cluster_.reservations_.contains("demo.0"));
  EXPECT_EQ(table().plans[0].state, "pending");
  EXPECT_EQ(status([&] { book_->approve("demo", 1); }), 403);
  EXPECT_EQ(book_->approve("demo", 2).phase, Phase::kBooked);
  EXPECT_EQ(table().plans[0].state, "scheduled");
  EXPECT_EQ(status([&] { book_->approve("demo", 2); }), 409);
  EXPECT_EQ(book_->history("demo").back().who, "bin");
}

TEST_F(ApprovalTest, ASearchSaysWhichOffersNeedIt) {
  OfferRequest wanted;
  wanted.query.nodes = 4;
  wanted.query.duration = wanted.query.min_segment = seconds{600};
  const auto needs = [&](std::uint32_t uid) { return to_json(book_->offers().search(wanted, uid)); };
  EXPECT_EQ(needs(1)["offers"][0]["needs_approval"], true);
  EXPECT_EQ(needs(1)["approvers"], "bin or an operator");
  EXPECT_EQ(needs(2)["offers"][0]["needs_approval"], false) << "an approver's own";
  wanted.query.nodes = 3;
  EXPECT_EQ(needs(1)["offers"][0]["needs_approval"], false);
  EXPECT_FALSE(needs(1).contains("approvers"));
}

TEST_F(ApprovalTest, ApproversAreNamed) {
  EXPECT_EQ(book_->gate().approvers_text("physics"), "bin or an operator");
  settings_.policy.approvers = parse_who("accounts:board,staff coordinators");
  restart_stintd();
  EXPECT_EQ(book_->gate().approvers_text("physics"),
            "a member of accounts board,staff, a coordinator of account physics or an operator");
  settings_.policy.approvers = {};
  restart_stintd();
  EXPECT_EQ(book_->gate().approvers_text("physics"), "an operator");
}

TEST_F(ApprovalTest, SmallOnesAndThoseOfApproversDoNotWait) {
  EXPECT_EQ(ask(3).phase, Phase::kBooked);
  EXPECT_EQ(book_->create(request("large", 4, 0), 2).phase, Phase::kBooked);
}

TEST_F(ApprovalTest, NotApprovedInTimeItFailsAndItsNodesAreFree) {
  ask(4);
  cluster_.now += 301;
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").phase, Phase::kFailed);
  EXPECT_TRUE(cluster_.reservations_.empty());
  EXPECT_THAT(book_->show("demo").reason, HasSubstr("nobody approved it"));
}

TEST_F(ApprovalTest, ItMayBeCancelledButNotChangedWhileItWaits) {
  ask(4);
  EXPECT_THAT(refusal([&] { book_->transfer("demo", "bin", 1); }), HasSubstr("waits for approval"));
  ExtendRequest longer;
  longer.duration = seconds{600};
  EXPECT_THAT(refusal([&] { book_->offer_extension("demo", longer, 1); }), HasSubstr("waits for approval"));
  EXPECT_EQ(status([&] { book_->cancel("demo", 1, false); }), 200);
  EXPECT_TRUE(cluster_.reservations_.empty());
}

TEST_F(ApprovalTest, KilledWhileItWasReservedItStillWaits) {
  cluster_.after_create = [] { throw std::runtime_error("killed"); };
  EXPECT_THROW(ask(4), std::runtime_error);
  cluster_.after_create = nullptr;
  restart_stintd();
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").phase, Phase::kPending);
}

}  // namespace
}  // namespace stint::reservations
