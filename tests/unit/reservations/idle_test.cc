// SPDX-License-Identifier: Apache-2.0
#include "reservations/idle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/unit/reservations/book_fixture.h"

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

// Segments of 100 s that begin at 1000, 1200, 1400 …
Plan plan_of(std::size_t segments, std::int64_t id = 1) {
  Plan plan;
  plan.id = id;
  plan.name = "demo" + std::to_string(id);
  plan.phase = Phase::kBooked;
  plan.uids = {1000};
  for (std::size_t k = 0; k < segments; ++k) {
    const auto start = at(1000 + 200 * static_cast<std::int64_t>(k));
    plan.segments.push_back({plan.name + "." + std::to_string(k), start, start + seconds{100}, {"node1"}});
  }
  return plan;
}

ClusterJob job_in(const std::string& reservation, JobState state) {
  ClusterJob job;
  job.uid = 1000;
  job.state = state;
  job.reservation = reservation;
  return job;
}

TEST(Idle, AnOpenSegmentWithoutAJobIsIdleFromItsStart) {
  const std::vector<Plan> plans{plan_of(2)};
  EXPECT_THAT(idle_now(plans, {}, {}, at(1008), at(1010)),
              ElementsAre(IdleRow{1, 0, at(1008), {}, at(1010)}));
  EXPECT_THAT(idle_now(plans, {}, {}, at(998), at(1002)), ElementsAre(IdleRow{1, 0, at(1000), {}, at(1002)}));
  EXPECT_THAT(idle_now(plans, {}, {}, at(1148), at(1150)), IsEmpty()) << "between two segments";
  EXPECT_THAT(idle_now(plans, {}, {}, at(1000), at(1000)), IsEmpty()) << "nothing has passed of it";
  auto pending = plans;
  pending[0].phase = Phase::kPending;
  EXPECT_THAT(idle_now(pending, {}, {}, at(1008), at(1010)), IsEmpty());
}

TEST(Idle, JobsThatRunOrWaitInTheSegmentUseIt) {
  const auto plan = plan_of(2);
  for (const auto state : {JobState::kPending, JobState::kRunning, JobState::kCompleting})
    EXPECT_TRUE(uses(plan, 0, job_in("demo1.0", state)));
  auto held = job_in("demo1.0", JobState::kPending);
  held.held = true;
  EXPECT_TRUE(uses(plan, 0, held));
  EXPECT_FALSE(uses(plan, 0, job_in("demo1.0", JobState::kFinished)));
  EXPECT_FALSE(uses(plan, 0, job_in("other.0", JobState::kRunning)));
  EXPECT_FALSE(uses(plan, 0, job_in("", JobState::kRunning)));
}

TEST(Idle, JobsOfLaterSegmentsUseThisOneOnlyWhileTheyRun) {
  const auto plan = plan_of(2);
  EXPECT_FALSE(uses(plan, 0, job_in("demo1.1", JobState::kPending)));
  EXPECT_TRUE(uses(plan, 0, job_in("demo1.1", JobState::kRunning))) << "it rolls over";
  EXPECT_TRUE(uses(plan, 1, job_in("demo1.0", JobState::kPending))) << "it is about to be moved here";
}

TEST(Idle, AJobThatBearsThePlansNameUsesItIfItsUserMay) {
  const auto plan = plan_of(1);
  auto job = job_in("", JobState::kPending);
  job.admin_comment = "stint plan=demo1";
  EXPECT_TRUE(uses(plan, 0, job));
  job.uid = 1001;
  EXPECT_FALSE(uses(plan, 0, job));
}

TEST(Idle, WhatIsKnownIsKeptUnlessNobodyLookedForLong) {
  const std::vector<Plan> plans{plan_of(1)};
  const IdleRow known{1, 0, at(1005), at(1007), at(1010)};
  EXPECT_THAT(idle_now(plans, {}, {known}, at(1030), at(1040)),
              ElementsAre(IdleRow{1, 0, at(1005), at(1007), at(1040)}));
  EXPECT_THAT(idle_now(plans, {}, {known}, at(1041), at(1041)),
              ElementsAre(IdleRow{1, 0, at(1041), {}, at(1041)}));
}

TEST(Idle, NothingIsReleasedSoonerThanItsNoticeSaid) {
  const IdleRules rules{seconds{60}, seconds{20}};
  IdleRow row{1, 0, at(1000), {}, at(1000)};
  EXPECT_FALSE(tell_now(row, rules, at(1039)));
  EXPECT_TRUE(tell_now(row, rules, at(1040)));
  EXPECT_EQ(release_time(row, rules, at(1040)), at(1060));
  EXPECT_EQ(release_time(row, rules, at(1075)), at(1095)) << "told late";
  row.told = at(1050);
  EXPECT_FALSE(tell_now(row, rules, at(1055)));
  EXPECT_EQ(release_time(row, rules, at(1055)), at(1070));
}

// Time goes by in steps; plans are used and left at random, as one who saw every second would note it.
TEST(Idle, AgreesWithOneWhoSeesEverySecond) {
  std::mt19937 random(7);
  const auto chance = [&](int percent) { return static_cast<int>(random() % 100) < percent; };
  for (int round = 0; round < 300; ++round) {
    std::vector<Plan> plans{plan_of(3, 1), plan_of(2, 2), plan_of(1, 3)};
    std::vector<IdleRow> rows;
    std::map<std::int64_t, sys_seconds> last_use;
    std::vector<bool> busy(plans.size(), false);
    sys_seconds looked = at(995);
    for (auto now = at(996); now < at(1500); now += seconds{1 + random() % 3}) {
      std::vector<ClusterJob> jobs;
      for (std::size_t i = 0; i < plans.size(); ++i) {
        if (chance(busy[i] ? 5 : 2)) busy[i] = !busy[i];
        const auto k = open_segment(plans[i], now);
        if (!busy[i] || !k) continue;
        jobs.push_back(
            job_in(plans[i].segments[*k].reservation, chance(50) ? JobState::kRunning : JobState::kPending));
        last_use[plans[i].id] = now;
      }
      rows = idle_now(plans, jobs, rows, looked, now);
      looked = now;
      std::vector<std::pair<std::int64_t, sys_seconds>> expected;
      std::vector<std::pair<std::int64_t, sys_seconds>> found;
      for (std::size_t i = 0; i < plans.size(); ++i) {
        const auto k = open_segment(plans[i], now);
        if (k && !busy[i])
          expected.emplace_back(plans[i].id, std::max(plans[i].segments[*k].start, last_use[plans[i].id]));
      }
      for (const auto& row : rows) found.emplace_back(row.plan, row.since);
      ASSERT_EQ(found, expected) << "round " << round << " at " << now.time_since_epoch().count();
    }
  }
}

class ReleaseTest : public BookTest {
 protected:
  ReleaseTest() {
    settings_.policy.release_idle_after = seconds{60};
    settings_.policy.release_notice = seconds{20};
    settings_.money.refund.after_start = 50;
    restart_stintd();
  }
  // Reconciles every two seconds.
  void pass(int time) {
    for (int i = 0; i < time; i += 2) {
      cluster_.now += 2;
      book_->reconcile();
    }
  }
  std::vector<std::string> actions() {
    std::vector<std::string> actions;
    for (const auto& entry : book_->history("demo")) actions.push_back(entry.action);
    return actions;
  }
  bool reserved(const std::string& name) { return cluster_.reservations_.contains(name); }
  // Of two hours, an hour and a half apart.
  void book_two_segments() {
    std::vector<std::string> all;
    for (const auto& node : cluster_.nodes_) all.push_back(node.name);
    cluster_.reservations_["wall"] = {"wall", now() + seconds{3'600}, now() + seconds{9'000}, all, {"root"},
                                      "main"};
    OfferRequest wanted;
    wanted.query.nodes = 2;
    wanted.query.duration = seconds{5'400};
    wanted.query.min_segment = seconds{600};
    wanted.query.max_segments = 2;
    PlanRequest by_offer;
    by_offer.name = "demo";
    by_offer.offer = book_->offers().search(wanted, kRoot).offers.back().first;
    book_->create(by_offer, kRoot);
  }
};

TEST_F(ReleaseTest, APlanThatNobodyUsesIsToldThenReleased) {
  book_->create(request(), kRoot);
  const auto booked = now();
  pass(44);
  EXPECT_THAT(actions(), ElementsAre("booked", "idle"));
  EXPECT_TRUE(reserved("demo.0"));
  pass(20);
  EXPECT_THAT(actions(), ElementsAre("booked", "idle", "released"));
  EXPECT_FALSE(reserved("demo.0"));
  const auto plan = book_->show("demo");
  EXPECT_EQ(plan.state_at(now()), PlanState::kExpired);
  EXPECT_TRUE(plan.segments[0].released);
  EXPECT_GE(plan.segments[0].end, booked + seconds{60});
  EXPECT_LE(plan.segments[0].end, booked + seconds{64});
  EXPECT_EQ(book_->history("demo").back().who, "stintd");
  EXPECT_THAT(book_->history("demo").back().detail, HasSubstr("no job was in demo.0 since"));
  EXPECT_TRUE(table().find("demo")->segments[0].released);
  book_->create(request(), kRoot);  // its nodes and its name are free
}

// 4 nodes for 10 minutes at 2.50: 1.67; half of what nine tenths of the time cost comes back.
TEST_F(ReleaseTest, WhatIsReleasedComesBackByTheRefundRule) {
  EXPECT_EQ(book_->create(request(), kRoot).price.amount(), "1.67");
  pass(66);
  const auto plan = book_->show("demo");
  EXPECT_NEAR(static_cast<double>(plan.price.cents), 167 - 75, 1);
  EXPECT_THAT(plan.price.breakdown, HasSubstr("less for the rest of demo.0"));
}

TEST_F(ReleaseTest, ReleasedTimeIsNeitherUsedNorIdle) {
  const auto id = book_->create(request(), kRoot).id;
  pass(300);
  NodeSeconds spent;
  for (const auto& row : ledger_.usage(id)) spent += row.spent;
  const auto segment = book_->show("demo").segments[0];
  EXPECT_EQ(spent.idle, 4 * (segment.end - segment.start).count());
  EXPECT_EQ(spent.sum(), spent.idle);
}

TEST_F(ReleaseTest, OneWithAJobIsKept) {
  book_->create(request(), kRoot);
  cluster_.add_job(7, {"node1"}, "demo.0");
  pass(100);
  cluster_.jobs_.at(7).state = JobState::kPending;
  pass(100);
  EXPECT_THAT(actions(), ElementsAre("booked"));
  cluster_.jobs_.clear();
  pass(50);
  EXPECT_THAT(actions(), ElementsAre("booked", "idle"));
}

TEST_F(ReleaseTest, AJobInTheNoticePeriodKeepsIt) {
  book_->create(request(), kRoot);
  pass(50);
  cluster_.add_job(7, {}, "demo.0").state = JobState::kPending;
  pass(30);
  cluster_.jobs_.clear();
  pass(30);
  EXPECT_TRUE(reserved("demo.0"));
  EXPECT_THAT(actions(), ElementsAre("booked", "idle"));
  pass(40);
  EXPECT_THAT(actions(), ElementsAre("booked", "idle", "idle", "released"));
}

TEST_F(ReleaseTest, AJobThatStartsInTheSameMomentWins) {
  book_->create(request(), kRoot);
  pass(50);
  cluster_.before_delete = [&] { cluster_.add_job(7, {"node1"}, "demo.0"); };
  pass(30);
  EXPECT_THAT(actions(), ElementsAre("booked", "idle", "not released"));
  const auto plan = book_->show("demo");
  EXPECT_EQ(plan.state_at(now()), PlanState::kActive);
  EXPECT_FALSE(plan.segments[0].released);
  EXPECT_EQ(plan.price.amount(), "1.67");
  EXPECT_TRUE(reserved("demo.0"));
}

TEST_F(ReleaseTest, LaterSegmentsStay) {
  book_two_segments();
  const auto before = book_->show("demo");
  pass(70);
  const auto plan = book_->show("demo");
  ASSERT_EQ(plan.segments.size(), 2U);
  EXPECT_TRUE(plan.segments[0].released);
  EXPECT_EQ(plan.segments[1], before.segments[1]);
  EXPECT_EQ(plan.state_at(now()), PlanState::kScheduled);
  EXPECT_FALSE(reserved("demo.0"));
  EXPECT_TRUE(reserved("demo.1"));
  cluster_.now = static_cast<double>(plan.segments[1].start.time_since_epoch().count()) + 2;
  pass(70);
  EXPECT_EQ(book_->show("demo").state_at(now()), PlanState::kExpired);
  EXPECT_THAT(actions(), ElementsAre("booked", "idle", "released", "idle", "released"));
}

TEST_F(ReleaseTest, WhatSlurmForgotThatItDeletedIsDeletedAgain) {
  book_->create(request(), kRoot);
  const auto reservation = cluster_.reservations_.at("demo.0");
  pass(66);
  ASSERT_FALSE(reserved("demo.0"));
  cluster_.reservations_["demo.0"] = reservation;
  pass(2);
  EXPECT_FALSE(reserved("demo.0"));
  book_->create(request(), kRoot);  // another plan of that name is left alone
  pass(2);
  EXPECT_TRUE(reserved("demo.0"));
}

TEST_F(ReleaseTest, AStintdThatIsRestartedGoesOnCounting) {
  book_->create(request(), kRoot);
  pass(40);
  restart_stintd();
  pass(10);
  restart_stintd();
  pass(14);
  EXPECT_THAT(actions(), ElementsAre("booked", "idle", "released"));
}

TEST_F(ReleaseTest, AStintdThatWasAwayForLongTellsAgain) {
  book_->create(request(), kRoot);
  pass(50);
  cluster_.now += 120;
  restart_stintd();
  pass(30);
  EXPECT_THAT(actions(), ElementsAre("booked", "idle"));
  pass(40);
  EXPECT_THAT(actions(), ElementsAre("booked", "idle", "idle", "released"));
}

TEST_F(ReleaseTest, WhatEndsByItselfBeforeIsNotTold) {
  auto wanted = request();
  wanted.duration = seconds{60};
  book_->create(wanted, kRoot);
  pass(80);
  EXPECT_THAT(actions(), ElementsAre("booked"));
}

TEST_F(ReleaseTest, NobodyIsReleasedWithoutAPolicy) {
  settings_.policy.release_idle_after.reset();
  restart_stintd();
  book_->create(request(), kRoot);
  pass(300);
  EXPECT_THAT(actions(), ElementsAre("booked"));
}

}  // namespace
}  // namespace stint::reservations
