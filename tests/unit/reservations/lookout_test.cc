// SPDX-License-Identifier: Apache-2.0
#include "reservations/lookout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reservations/metrics.h"
#include "reservations/privacy.h"
#include "reservations/tally.h"
#include "reservations/users.h"
#include "tests/unit/reservations/fake_cluster.h"
#include "tests/unit/reservations/scratch.h"

namespace stint::reservations {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::HasSubstr;
using testing::Not;

constexpr sys_seconds kNow{seconds{1'000'000}};
constexpr std::uint32_t kAlice = 1000, kBob = 1001;

Plan plan_of(const std::string& name, sys_seconds start, std::vector<std::string> nodes) {
  Plan plan;
  plan.name = name;
  plan.phase = Phase::kBooked;
  plan.owner_uid = kAlice;
  plan.uids = {kAlice};
  plan.segments.push_back({name + ".0", start, start + hours{1}, std::move(nodes)});
  return plan;
}

TEST(Lookout, NodesStandInTheOrderPeopleCountAndJobsOfReservationsAreKept) {
  FakeCluster cluster(12);
  cluster.find_node("node3").drained = true;
  cluster.add_job(7, {"node1"}, "demo.0");
  cluster.add_job(8, {"node2"}, "");
  Lookout lookout(cluster);
  EXPECT_FALSE(lookout.sight()->known);
  lookout.look();
  const auto sight = lookout.sight();
  ASSERT_EQ(sight->nodes.size(), 12U);
  EXPECT_EQ(sight->nodes[9].name, "node10");
  EXPECT_EQ(sight->nodes[9].leaf_switch, "leaf3");
  EXPECT_TRUE(sight->nodes[2].lost);
  ASSERT_EQ(sight->jobs.size(), 1U);
  EXPECT_EQ(sight->jobs[0].id, 7U);
}

TEST(Lookout, WhatWasSeenStandsWhileSlurmIsAway) {
  FakeCluster cluster(2);
  Lookout lookout(cluster);
  lookout.look();
  cluster.away = true;
  EXPECT_THROW(lookout.look(), ClusterError);
  EXPECT_EQ(lookout.sight()->nodes.size(), 2U);
}

TEST(Lookout, NumbersInNamesAreNumbers) {
  EXPECT_TRUE(counts_before("node9", "node10"));
  EXPECT_FALSE(counts_before("node10", "node9"));
  EXPECT_TRUE(counts_before("node1", "node1a"));
  EXPECT_TRUE(counts_before("a2b3", "a2b10"));
  EXPECT_NE(counts_before("node01", "node1"), counts_before("node1", "node01"));
  EXPECT_FALSE(counts_before("node1", "node1"));
}

TEST(Tally, CountsWhatOpenSegmentsHoldUseAndLose) {
  FakeCluster cluster(8);
  cluster.find_node("node2").down = true;
  cluster.find_node("node8").down = true;  // in no plan
  cluster.add_job(7, {"node1"}, "open.0");
  cluster.add_job(8, {"node4"}, "later.0");
  cluster.add_job(9, {"node3"}, "later.0");  // led into it, and still where it ran before
  Lookout lookout(cluster);
  lookout.look();
  auto gone = plan_of("gone", kNow, {"node7"});
  gone.phase = Phase::kCancelled;
  const auto sum =
      tally({plan_of("open", kNow, {"node1", "node2", "node3"}), gone,
             plan_of("later", kNow + hours{2}, {"node4"}), plan_of("latest", kNow + hours{3}, {"node4"})},
            *lookout.sight(), kNow);
  EXPECT_EQ(sum.cluster, 8U);
  EXPECT_EQ(sum.booked, 3U);
  EXPECT_EQ(sum.used, 2U);
  EXPECT_EQ(sum.lost, 1U);
  EXPECT_EQ(sum.next_start, kNow + hours{2});
  EXPECT_EQ(sum.plans.at("scheduled"), 2);
  EXPECT_EQ(sum.plans.at("cancelled"), 1);
}

TEST(Metrics, NameNoPlanAndDropTheNextStartWhenThereIsNone) {
  Metrics metrics;
  Tally sum;
  sum.plans["active"] = 2;
  sum.booked = 5;
  sum.next_start = kNow;
  metrics.set_plans(sum);
  metrics.count_request(404, 0.002);
  EXPECT_THAT(metrics.text(), HasSubstr("stint_plans{state=\"active\"} 2"));
  EXPECT_THAT(metrics.text(), HasSubstr("stint_nodes{kind=\"booked\"} 5"));
  EXPECT_THAT(metrics.text(), HasSubstr("stint_next_segment_start_timestamp_seconds 1000000"));
  EXPECT_THAT(metrics.text(), HasSubstr("stint_http_requests_total{status=\"404\"} 1"));
  sum.next_start.reset();
  metrics.set_plans(sum);
  EXPECT_THAT(metrics.text(), Not(HasSubstr("stint_next_segment_start_timestamp_seconds 1")));
  metrics.set_plans(sum);
}

// Whom [policy] approvers names.
struct Asked {
  explicit Asked(Cluster& cluster, Settings settings = {})
      : ledger(scratch.file("ledger.db")),
        accounts(cluster, ledger, settings.money),
        gate(cluster, accounts, settings) {}
  Scratch scratch;
  Ledger ledger;
  Accounts accounts;
  Gate gate;
};

TEST(Privacy, APlanThatWaitsIsSeenByThoseWhoMayApproveIt) {
  constexpr std::uint32_t kDaemon = 1;
  FakeCluster cluster(2);
  cluster.private_data = true;
  Lookout lookout(cluster);
  lookout.look();
  Settings settings;
  settings.policy.approvers = parse_who("users:" + user_of_uid(kDaemon));
  const Asked asked(cluster, settings);
  const Privacy privacy(cluster, lookout, asked.gate);
  auto plan = plan_of("demo", kNow, {"node1"});
  EXPECT_FALSE(privacy.may_see(plan, kDaemon));
  plan.phase = Phase::kPending;
  EXPECT_TRUE(privacy.may_see(plan, kDaemon));
  EXPECT_EQ(privacy.seen_by({plan}, kDaemon).size(), 1U);
  EXPECT_FALSE(privacy.may_see(plan, kBob));
  EXPECT_EQ(privacy.seen_by({plan}, kBob).size(), 0U);
}

TEST(Privacy, WithoutPrivateDataEverybodySeesAllPlans) {
  FakeCluster cluster(2);
  Lookout lookout(cluster);
  Asked asked(cluster);
  const Privacy privacy(cluster, lookout, asked.gate);
  const auto plan = plan_of("demo", kNow, {"node1"});
  EXPECT_FALSE(privacy.may_see(plan, kBob)) << "until Slurm has answered";
  lookout.look();
  EXPECT_TRUE(privacy.may_see(plan, kBob));
  EXPECT_TRUE(privacy.may_see_job(99, kBob));
}

TEST(Privacy, PrivatePlansAreSeenByTheirUsersAndOperators) {
  FakeCluster cluster(2);
  cluster.private_data = true;
  Lookout lookout(cluster);
  lookout.look();
  Asked asked(cluster);
  const Privacy privacy(cluster, lookout, asked.gate);
  const auto plan = plan_of("demo", kNow, {"node1"});
  EXPECT_TRUE(privacy.may_see(plan, kAlice));
  EXPECT_TRUE(privacy.may_see(plan, FakeCluster::kSlurmUid));
  EXPECT_FALSE(privacy.may_see(plan, kBob));
  EXPECT_EQ(privacy.seen_by({plan}, kAlice).size(), 1U);
  EXPECT_EQ(privacy.seen_by({plan}, kBob).size(), 0U);
  cluster.add_job(7, {"node1"}, "demo.0").uid = kAlice;
  EXPECT_TRUE(privacy.may_see_job(7, kAlice));
  EXPECT_FALSE(privacy.may_see_job(7, kBob));
  EXPECT_FALSE(privacy.may_see_job(99, kBob));
}

}  // namespace
}  // namespace stint::reservations
