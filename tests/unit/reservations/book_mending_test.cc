// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/reservations/book_fixture.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(BookTest, ReservationsOfOthersAreNeverRemoved) {
  cluster_.reservations_["theirs.0"] = {"theirs.0", now(), now() + seconds{60}, {"node1"}, {"root"}, "main"};
  book_->reconcile();
  EXPECT_TRUE(cluster_.reservations_.contains("theirs.0"));
}

TEST_F(BookTest, AReservationThatVanishedIsMadeAgainOnOtherNodesWhereItsOwnWereTaken) {
  book_->create(request("demo", 4, 0), kRoot);
  const auto nodes = cluster_.reservations_["demo.0"].nodes;
  cluster_.reservations_.clear();
  cluster_.reservations_["other"] = {"other", now(), now() + seconds{60}, {nodes[0]}, {"root"}, "main"};
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").phase, Phase::kBooked);
  EXPECT_EQ(book_->show("demo").segments[0].nodes, cluster_.reservations_["demo.0"].nodes);
  EXPECT_THAT(book_->show("demo").segments[0].nodes, testing::Not(testing::Contains(nodes[0])));
  EXPECT_THAT(book_->history("demo").back().detail, HasSubstr("its nodes were taken"));
}

TEST_F(BookTest, AReservationThatVanishedIsMadeAgainOrThePlanFails) {
  book_->create(request("demo", 4, 0), kRoot);
  const auto nodes = cluster_.reservations_["demo.0"].nodes;
  cluster_.reservations_.clear();
  cluster_.now += 5;
  book_->reconcile();
  EXPECT_EQ(cluster_.reservations_["demo.0"].nodes, nodes);
  cluster_.reservations_.clear();
  cluster_.reservations_["other"] = {
      "other", now(), now() + seconds{900}, {"node1", "node2", "node3", "node4", "node5"}, {"root"}, "main"};
  book_->reconcile();
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").phase, Phase::kBooked);
  EXPECT_EQ(book_->history("demo").back().action, "reservation missing");
  EXPECT_EQ(book_->history("demo").size(), 3U);
  cluster_.now += 301;
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").phase, Phase::kFailed);
  EXPECT_THAT(book_->show("demo").reason, HasSubstr("cannot be made again"));
  EXPECT_EQ(table().plans[0].state, "failed");
}

TEST_F(BookTest, WhatKeepsAReservationFromBeingMadeAgainMayPass) {
  auto wanted = request("demo", 4, 0);
  wanted.start = now() + seconds{3'600};
  book_->create(wanted, kRoot);
  cluster_.reservations_.clear();
  cluster_.reservations_["other"] = {
      "other",  now(), now() + seconds{7'200}, {"node1", "node2", "node3", "node4", "node5"},
      {"root"}, "main"};
  for (int i = 0; i < 7; ++i) {
    book_->reconcile();
    cluster_.now += 500;
  }
  EXPECT_EQ(book_->show("demo").phase, Phase::kBooked);
  cluster_.reservations_.clear();
  book_->reconcile();
  EXPECT_TRUE(cluster_.reservations_.contains("demo.0"));
  EXPECT_EQ(book_->history("demo").back().action, "reservation back");
}

TEST_F(BookTest, APlanBeganWhenItBeganThoughItsReservationIsMadeAgain) {
  book_->create(request(), kRoot);
  const auto began = now();
  cluster_.reservations_.clear();
  cluster_.now += 100;
  book_->reconcile();
  EXPECT_EQ(cluster_.reservations_.at("demo.0").start, now());
  EXPECT_EQ(book_->show("demo").segments[0].start, began);
  cluster_.reservations_.at("demo.0").end += seconds{300};
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").segments[0].start, began);
  EXPECT_EQ(book_->show("demo").segments[0].end, began + seconds{900});
}

// A plan that was made shorter just now; what slurmctld had of it before.
class ForgottenTest : public BookTest {
 protected:
  ForgottenTest() {
    book_->create(request(), kRoot);
    cluster_.now += 5;
    before_ = cluster_.reservations_.at("demo.0");
    ShrinkRequest shorter;
    shorter.until = until_ = now() + seconds{100};
    book_->shrink("demo", shorter, kRoot);
  }

  ClusterReservation before_;
  std::chrono::sys_seconds until_;
};

TEST_F(ForgottenTest, AChangeThatACrashedControllerForgotIsMadeAgain) {
  cluster_.reservations_.at("demo.0") = before_;
  cluster_.now += 20;
  cluster_.booted = now();
  cluster_.now += 3;
  book_->reconcile();
  EXPECT_EQ(cluster_.reservations_.at("demo.0").end, until_);
  EXPECT_EQ(book_->show("demo").segments[0].end, until_);
  EXPECT_EQ(book_->history("demo").back().action, "reservation put back");
  // An edit after that is an admin's.
  cluster_.now += 5;
  cluster_.reservations_.at("demo.0").end = before_.end;
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").segments[0].end, before_.end);
}

TEST_F(ForgottenTest, UsersAndTimesThatACrashedControllerForgotAreMadeAgainTogether) {
  cluster_.reservations_.at("demo.0") = before_;
  cluster_.reservations_.at("demo.0").users = {"daemon"};
  cluster_.now += 20;
  cluster_.booted = now();
  cluster_.now += 3;
  book_->reconcile();
  EXPECT_EQ(cluster_.reservations_.at("demo.0").end, until_);
  EXPECT_EQ(cluster_.reservations_.at("demo.0").users, before_.users);
  EXPECT_EQ(book_->history("demo").back().action, "reservation put back");
}

TEST_F(BookTest, AnEditInTheSecondInWhichTheControllerStartedIsAnAdmins) {
  cluster_.booted = now();
  book_->create(request(), kRoot);
  book_->reconcile();
  cluster_.reservations_.at("demo.0").end += seconds{300};
  const auto edited = cluster_.reservations_.at("demo.0").end;
  book_->reconcile();
  EXPECT_EQ(cluster_.reservations_.at("demo.0").end, edited);
  EXPECT_EQ(book_->show("demo").segments[0].end, edited);
  EXPECT_EQ(book_->history("demo").back().action, "reservation changed");
}

TEST_F(ForgottenTest, AControllerThatIsStartedWhileItsReservationsAreReadIsAskedAgain) {
  cluster_.on_call = [&](const std::string& call) {
    if (call != "reservations" || cluster_.booted == now()) return;
    cluster_.reservations_.at("demo.0") = before_;
    cluster_.booted = now();
  };
  book_->reconcile();
  book_->reconcile();
  EXPECT_EQ(cluster_.reservations_.at("demo.0").end, until_);
}

TEST_F(BookTest, UsersOfAReservationThatAnAdminChangedArePutBack) {
  book_->create(request(), kRoot);
  cluster_.reservations_.at("demo.0").users = {"root", "bob"};
  book_->reconcile();
  EXPECT_THAT(cluster_.reservations_.at("demo.0").users, ElementsAre("root"));
  EXPECT_EQ(book_->history("demo").back().action, "users put back");
  book_->reconcile();
  EXPECT_EQ(book_->history("demo").size(), 2U);
}

TEST_F(BookTest, TheLedgerFollowsAnAdminsChangeOfTheReservation) {
  book_->create(request("demo", 2, 0), kRoot);
  cluster_.reservations_["demo.0"].end += seconds{300};
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").segments[0].end, cluster_.reservations_["demo.0"].end);
}

TEST_F(BookTest, ADeadNodeIsSwappedForTheNearestFreeOne) {
  book_->create(request("demo", 3, 0), kRoot);
  ASSERT_THAT(cluster_.reservations_["demo.0"].nodes, ElementsAre("node1", "node2", "node3"));
  cluster_.set_node_down("node2", "stint: slurmd does not answer (job 7)");
  book_->reconcile();
  EXPECT_THAT(cluster_.reservations_["demo.0"].nodes, ElementsAre("node1", "node4", "node3"));
  EXPECT_THAT(book_->show("demo").segments[0].nodes, ElementsAre("node1", "node4", "node3"));
  EXPECT_EQ(table().plans[0].segments[0].nodes, "node[1,3-4]");
}

TEST_F(BookTest, ANodeThatMayOnlyBeRebootingGetsASecondLook) {
  book_->create(request("demo", 3, 0), kRoot);
  cluster_.find_node("node2").down = true;
  book_->reconcile();
  EXPECT_TRUE(FakeCluster::has(cluster_.reservations_["demo.0"].nodes, "node2"));
  book_->reconcile();
  EXPECT_FALSE(FakeCluster::has(cluster_.reservations_["demo.0"].nodes, "node2"));
}

TEST_F(BookTest, WithoutAFreeNodeThePlanKeepsAndShowsItsLoss) {
  book_->create(request("demo", 7, 1), kRoot);
  cluster_.set_node_down("node2", "stint: slurmd does not answer (job 7)");
  book_->reconcile();
  EXPECT_EQ(cluster_.reservations_["demo.0"].nodes.size(), 8U);
  EXPECT_THAT(book_->lost_nodes(), ElementsAre("node2"));
}

}  // namespace
}  // namespace stint::reservations
