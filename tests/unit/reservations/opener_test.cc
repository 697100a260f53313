// SPDX-License-Identifier: Apache-2.0
// What is reserved and woken before a plan begins, and that nothing of it is left.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "reservations/kill_point.h"
#include "tests/unit/reservations/opener_fixture.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::UnorderedElementsAre;

TEST_F(OpenerTest, AllNodesAreCheckedInAReservationThatEndsWhereTheSegmentBegins) {
  book(seconds{120});
  tick();
  ASSERT_TRUE(reserved());
  const auto& prep = cluster_.reservations_[kPrep];
  EXPECT_EQ(prep.end, book_->show("demo").segments[0].start);
  EXPECT_THAT(prep.nodes, UnorderedElementsAre("node1", "node2", "node3", "node4"));
  EXPECT_THAT(prep.users, ElementsAre("slurm", "root"));
  ticks(10);
  EXPECT_THAT(checked(), UnorderedElementsAre("node1", "node2", "node3", "node4"));
  EXPECT_EQ(shown(), "goes on: node[1-4] checked: good");
  ticks(109);
  EXPECT_FALSE(reserved());
  EXPECT_THAT(lines("opened"), ElementsAre("segment 0: node[1-4] checked: good"));
  EXPECT_EQ(shown(), "node[1-4] checked: good");
}

TEST_F(OpenerTest, NothingHappensBeforeItsTimeOrWhereItIsSwitchedOff) {
  book(seconds{1'000});
  ticks(300);
  EXPECT_FALSE(reserved());
  EXPECT_THAT(shown(), HasSubstr("begins 19"));
  before = seconds{0};
  restart();
  ticks(600);
  EXPECT_FALSE(reserved());
  EXPECT_EQ(shown(), "");
  EXPECT_THAT(checked(), IsEmpty());
}

TEST_F(OpenerTest, APlanThatBeginsAtOnceIsLeftAlone) {
  book(seconds{0});
  ticks(5);
  EXPECT_FALSE(reserved());
  EXPECT_THAT(cluster_.calls, Not(Contains("submit")));
  EXPECT_EQ(book_->history("demo").size(), 1U);
}

TEST_F(OpenerTest, APlanThatWaitsForApprovalIsOpenedOnceItHasIt) {
  settings_.policy.book.everyone = true;
  settings_.policy.approve_above_nodes = 2;
  restart();
  auto wanted = request("demo", 3, 1);
  wanted.start = now() + seconds{120};
  book_->create(wanted, 1);
  ticks(10);
  EXPECT_FALSE(reserved());
  book_->approve("demo", kRoot);
  ticks(2);
  EXPECT_TRUE(reserved());
}

TEST_F(OpenerTest, WhenTheSegmentBeginsNothingOfItsOpeningIsLeft) {
  hanging = {"node1", "node2", "node3", "node4"};
  book(seconds{28});
  ticks(3);
  EXPECT_EQ(live_checks(), 4);
  ticks(24);
  EXPECT_EQ(live_checks(), 0);
  EXPECT_FALSE(reserved());
  EXPECT_THAT(nodes(), UnorderedElementsAre("node1", "node2", "node3", "node4"));  // too young to be judged
  EXPECT_THAT(lines("opening skipped"),
              ElementsAre("segment 0: node[1-4] not checked: no time was left for its health check"));
}

TEST_F(OpenerTest, BusyNodesAreNamedAndLeftAlone) {
  book(seconds{120});
  add_stranger("node2");
  ticks(115);
  EXPECT_THAT(lines("opened"),
              ElementsAre("segment 0: node[1,3-4] checked: good; node2 not checked: in use until then"));
}

TEST_F(OpenerTest, ANodeThatBecomesFreeInTimeIsCheckedToo) {
  book(seconds{120});
  add_stranger("node2");
  ticks(20);
  EXPECT_THAT(prepared(), UnorderedElementsAre("node1", "node3", "node4"));
  cluster_.jobs_[50].state = JobState::kFinished;
  cluster_.find_node("node2").idle = true;
  ticks(10);
  EXPECT_THAT(checked(), Contains("node2"));
  ticks(85);
  EXPECT_THAT(lines("opened"), ElementsAre("segment 0: node[1-4] checked: good"));
}

TEST_F(OpenerTest, AnothersReservationUntilTheStartIsRespected) {
  book(seconds{120});
  cluster_.reservations_["theirs"] = {"theirs", now(), now() + seconds{60}, {"node1"}, {"root"}, "main"};
  ticks(5);
  EXPECT_THAT(prepared(), UnorderedElementsAre("node2", "node3", "node4"));
}

TEST_F(OpenerTest, ASleepingNodeIsWokenOnceAndCheckedWhenItIsUp) {
  book(seconds{120});
  cluster_.find_node("node4").asleep = true;
  ticks(10);
  EXPECT_EQ(std::count(cluster_.calls.begin(), cluster_.calls.end(), "power up"), 1);
  EXPECT_THAT(checked(), UnorderedElementsAre("node1", "node2", "node3"));
  cluster_.find_node("node4").waking = false;
  ticks(3);
  EXPECT_THAT(checked(), Contains("node4"));
}

TEST_F(OpenerTest, ANodeThatStillSleepsIsNamedAndKept) {
  book(seconds{60});
  cluster_.find_node("node4").waking = true;
  ticks(55);
  EXPECT_THAT(lines("opened"),
              ElementsAre("segment 0: node[1-3] checked: good; node4 not checked: it sleeps still"));
  EXPECT_FALSE(cluster_.find_node("node4").drained);
}

TEST_F(OpenerTest, AnAdminMayDeleteTheReservation) {
  hanging = {"node1", "node2", "node3", "node4"};
  book(seconds{120});
  ticks(3);
  for (auto& [id, job] : cluster_.jobs_) job.state = JobState::kFinished;
  cluster_.reservations_.erase(kPrep);
  ticks(5);
  EXPECT_FALSE(reserved());
  EXPECT_EQ(lines("opening skipped").size(), 1U);
}

TEST_F(OpenerTest, APlanThatIsCancelledLeavesNothing) {
  hanging = {"node1", "node2"};
  book(seconds{120});
  ticks(6);
  book_->cancel("demo", kRoot, false);
  ticks(3);
  EXPECT_FALSE(reserved());
  EXPECT_EQ(live_checks(), 0);
  EXPECT_THAT(cluster_.reservations_, IsEmpty());
}

TEST_F(OpenerTest, ANewPlanOfTheSameNameIsOpenedToo) {
  hanging = {"node1"};
  cluster_.cancels_work = false;
  book(seconds{120});
  ticks(6);
  book_->cancel("demo", kRoot, false);
  hanging.clear();
  ticks(10);
  cluster_.cancels_work = true;
  book(seconds{120});
  ticks(10);
  EXPECT_TRUE(reserved());
  EXPECT_EQ(shown(), "goes on: node[1-4] checked: good");
}

TEST_F(OpenerTest, NodesThatComeToThePlanAreCheckedAndThoseThatLeaveItAreLetGo) {
  book(seconds{200});
  ticks(6);
  ExtendRequest more;
  more.nodes = 4;
  book_->extend("demo", book_->offer_extension("demo", more, kRoot).offers.at(0).first, kRoot);
  ticks(6);
  EXPECT_EQ(checked().size(), 5U);
  ShrinkRequest less;
  less.nodes = 2;
  book_->shrink("demo", less, kRoot);
  ticks(3);
  EXPECT_THAT(prepared(), testing::UnorderedElementsAreArray(nodes()));
}

TEST_F(OpenerTest, SlurmctldMayBeAwayInBetween) {
  bad = {"node2"};
  book(seconds{120});
  ticks(3);
  cluster_.away = true;
  for (int i = 0; i < 20; ++i) {
    cluster_.now += 1;
    EXPECT_THROW(opener_->tend_once(), ClusterError);
  }
  cluster_.away = false;
  ticks(90);
  EXPECT_FALSE(reserved());
  EXPECT_THAT(nodes(), Not(Contains("node2")));
}

Plan two_segments(std::chrono::sys_seconds start, seconds gap) {
  Plan plan;
  plan.phase = Phase::kBooked;
  plan.segments = {{"demo.0", start - seconds{3'600}, start - gap, {"node1", "node2"}},
                   {"demo.1", start, start + seconds{3'600}, {"node1", "node2"}}};
  return plan;
}

TEST(Opening, ASegmentThatFollowsOnTheSameNodesNeedsNone) {
  const std::chrono::sys_seconds start{seconds{1'000'000}};
  const OpeningRules rules{seconds{600}, kCheckLimit};
  const auto due = [&](const Plan& plan) { return opening_is_due(plan, 1, rules, start - seconds{60}); };
  EXPECT_FALSE(due(two_segments(start, seconds{0})));
  EXPECT_FALSE(due(two_segments(start, seconds{15})));
  EXPECT_TRUE(due(two_segments(start, seconds{90})));
  auto other = two_segments(start, seconds{0});
  other.segments[1].nodes[1] = "node3";
  EXPECT_TRUE(due(other));
}

TEST(Opening, ALargePlanIsCheckedInParts) {
  const std::chrono::sys_seconds now{seconds{1'000'000}};
  Plan plan;
  plan.phase = Phase::kBooked;
  std::map<std::string, ClusterNode> nodes;
  Segment segment{"demo.0", now + seconds{600}, now + seconds{1'200}, {}};
  for (int i = 0; i < 1'000; ++i) {
    ClusterNode node;
    node.name = fmt::format("node{}", i);
    node.idle = true;
    segment.nodes.push_back(node.name);
    nodes[node.name] = node;
  }
  plan.segments = {segment};
  const Opening opening{1, 0, kPrep, Opening::State::kReserved, {}};
  const std::map<std::string, ClusterReservation> reservations{
      {kPrep, {kPrep, now, segment.start, segment.nodes, {"root"}, "main"}}};
  const OpeningScene scene{plan, opening, {}, nodes, reservations, {}, {}, {seconds{600}, kCheckLimit}, now};
  EXPECT_EQ(opening_due(scene).check.size(), kMostChecksAtOnce);
  EXPECT_EQ(most_drained(1'000), 250U);
}

TEST(Opening, TheScriptQuotesItsPaths) {
  EXPECT_EQ(check_script("/opt/o'brien/bin/stint", "/etc/stint.conf"),
            "#!/bin/sh\nexec '/opt/o'\\''brien/bin/stint' doctor node --report --config '/etc/stint.conf'\n");
  EXPECT_THAT(check_script("/bin/stint", ""), Not(HasSubstr("--config")));
}

// Killed at each point of an opening, with a bad node in it and one that sleeps: the next stintd completes it
// or clears it away.
TEST(OpenerKill, NothingIsLeftAndTheBadNodeIsReplaced) {
  const auto tick = [](OpenerTest& world) {
    world.tick();
    world.cluster().find_node("node3").waking = false;
  };
  const auto live = [&](OpenerTest& world, int count) {
    world.bad = {"node2"};
    world.book(seconds{35});
    world.cluster().find_node("node3").asleep = true;
    for (int i = 0; i < count; ++i) tick(world);
  };
  int points = 0;
  {
    OpenerTest whole;
    set_kill_handler([&](std::string_view) { ++points; });
    live(whole, 36);
    set_kill_handler({});
  }
  ASSERT_GT(points, 20);
  for (int n = 1; n <= points; ++n) {
    OpenerTest world;
    int passed = 0;
    std::string at;
    set_kill_handler([&](std::string_view name) {
      if (++passed != n) return;
      at = name;
      throw FakeCluster::Killed();
    });
    EXPECT_THROW(live(world, 36), FakeCluster::Killed);
    set_kill_handler({});
    SCOPED_TRACE(at);
    world.restart();
    if (!world.ledger().find_plan("demo") || world.ledger().find_plan("demo")->phase == Phase::kBooking)
      continue;
    while (world.cluster().now < 1'000'036) tick(world);
    EXPECT_FALSE(world.reserved());
    EXPECT_EQ(world.live_checks(), 0);
    EXPECT_THAT(world.ledger().open_openings(), IsEmpty());
    EXPECT_THAT(world.nodes(), Not(Contains("node2")));
    EXPECT_EQ(world.lines("node swapped").size() + world.lines("reservation changed").size(), 1U);
    EXPECT_EQ(world.lines("opened").size(), 1U);
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace stint::reservations
