// SPDX-License-Identifier: Apache-2.0
// Plans are opened on a cluster in memory: what is reserved, checked, drained and swapped when, and what is
// left.
#include "reservations/opener.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <set>

#include "reservations/kill_point.h"
#include "tests/unit/reservations/book_fixture.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::UnorderedElementsAre;

constexpr char kPrep[] = "demo.0.prep";
constexpr seconds kCheckLimit{20};
constexpr double kCheckTakes = 3;

class OpenerTest : public BookTest {
 public:
  OpenerTest() { restart(); }
  void TestBody() override {}

  void restart() {
    restart_stintd();
    opener_ = std::make_unique<Opener>(cluster_, ledger_, metrics_,
                                       OpenerSettings{{before, kCheckLimit}, "#!/bin/sh\ntrue\n"},
                                       [this] { return cluster_.now; });
  }
  // Three nodes and a spare.
  void book(seconds ahead, int nodes = 3, int spares = 1) {
    auto wanted = request("demo", nodes, spares);
    wanted.start = now() + ahead;
    book_->create(wanted, kRoot);
  }
  // A second of a stintd's life, and of the nodes.
  void tick() {
    cluster_.now += 1;
    for (auto& [id, job] : cluster_.jobs_) {
      const auto node = node_of_check(job.name);
      if (job.state != JobState::kRunning || node.empty() || hanging.contains(node)) continue;
      if (now() - job.started >= seconds{static_cast<std::int64_t>(kCheckTakes)})
        cluster_.end_node_job(id, bad.contains(node) ? 1 : 0);
    }
    opener_->tend_once();
    book_->reconcile();
  }
  void ticks(int count) {
    for (int i = 0; i < count; ++i) tick();
  }
  bool reserved() const { return cluster_.reservations_.contains(kPrep); }
  std::vector<std::string> prepared() { return cluster_.reservations_.at(kPrep).nodes; }
  std::vector<std::string> nodes() { return book_->show("demo").segments[0].nodes; }
  long drained() const {
    return std::count_if(cluster_.nodes_.begin(), cluster_.nodes_.end(),
                         [](const ClusterNode& node) { return node.drained; });
  }
  int live_checks() {
    int count = 0;
    for (const auto& job : cluster_.jobs()) count += node_of_check(job.name).empty() ? 0 : 1;
    return count;
  }
  std::vector<std::string> checked() {
    std::vector<std::string> nodes;
    for (const auto& [id, job] : cluster_.jobs_) {
      if (!node_of_check(job.name).empty()) nodes.push_back(node_of_check(job.name));
    }
    return nodes;
  }
  // Lines of the history with this action.
  std::vector<std::string> lines(const std::string& action) {
    std::vector<std::string> found;
    for (const auto& entry : book_->history("demo")) {
      if (entry.action == action) found.push_back(entry.detail);
    }
    return found;
  }
  std::string shown() {
    const auto json = opener_->describe(book_->show("demo"));
    return json.is_null() ? "" : json.at("text").get<std::string>();
  }
  void add_stranger(const std::string& node, std::uint32_t id = 50) {
    cluster_.add_job(id, {node}, "", "").end = now() + seconds{86'400};
    cluster_.find_node(node).idle = false;
  }
  FakeCluster& cluster() { return cluster_; }
  Ledger& ledger() { return ledger_; }
  Book& book_of_plans() { return *book_; }

  std::set<std::string> bad, hanging;
  seconds before{600};

 protected:
  std::unique_ptr<Opener> opener_;
};

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

TEST_F(OpenerTest, ABadNodeIsDrainedAndReplacedFromOutsideThePlanAndItsSubstituteIsChecked) {
  bad = {"node2"};
  book(seconds{120});
  ticks(20);
  EXPECT_TRUE(cluster_.find_node("node2").drained);
  EXPECT_EQ(cluster_.find_node("node2").reason,
            "stint: health check: its health check ended with status 1; verify");
  EXPECT_THAT(nodes(), UnorderedElementsAre("node1", "node3", "node4", "node5"));
  EXPECT_THAT(prepared(), UnorderedElementsAre("node1", "node3", "node4", "node5"));
  EXPECT_THAT(checked(), Contains("node5"));
  ticks(100);
  EXPECT_THAT(lines("opened"),
              ElementsAre("segment 0: node[1,3-5] checked: good; node2 is bad (its health check ended with "
                          "status 1) and was replaced"));
  EXPECT_THAT(lines("node swapped"), ElementsAre("node2 is replaced by node5"));
}

TEST_F(OpenerTest, OpeningsTogetherDrainNoMoreThanAQuarterOfTheClusterOrTwo) {
  for (const auto& node : cluster_.nodes_) bad.insert(node.name);
  for (const auto* name : {"one", "two", "three"}) {
    auto wanted = request(name, 2, 0);
    wanted.start = now() + seconds{120};
    book_->create(wanted, kRoot);
  }
  ticks(60);
  EXPECT_EQ(drained(), 2);
  // Given back, a node counts no more.
  for (auto& node : cluster_.nodes_) node.drained = false;
  ticks(10);
  EXPECT_EQ(drained(), 2);
}

TEST_F(OpenerTest, WhatTheNodeSaysOfItselfIsTheReason) {
  bad = {"node2"};
  book(seconds{120});
  ticks(2);
  std::uint32_t id = 0;
  for (const auto& [number, job] : cluster_.jobs_) id = job.name == check_job_name("node2") ? number : id;
  opener_->take_findings(id, "node2", "disk: /tmp is full", FakeCluster::kSlurmUid);
  ticks(6);
  EXPECT_EQ(cluster_.find_node("node2").reason, "stint: health check: disk: /tmp is full; verify");
}

TEST_F(OpenerTest, OnlyItsOwnCheckMaySpeakForANode) {
  book(seconds{120});
  ticks(2);
  add_stranger("node8", 77);
  std::uint32_t id = 0;
  for (const auto& [number, job] : cluster_.jobs_) id = job.name == check_job_name("node2") ? number : id;
  const auto status_of = [&](std::uint32_t job, const std::string& node, std::uint32_t uid) {
    return status([&] { opener_->take_findings(job, node, "disk: full", uid); });
  };
  EXPECT_EQ(status_of(id, "node2", 1'000), 403);
  EXPECT_EQ(status_of(id, "node1", kRoot), 404);
  EXPECT_EQ(status_of(77, "node8", kRoot), 404);
  EXPECT_EQ(status_of(4'711, "node2", kRoot), 404);
  cluster_.jobs_[id].uid = 1'000;  // somebody else's of the same name
  EXPECT_EQ(status_of(id, "node2", kRoot), 404);
  cluster_.jobs_[id].uid = FakeCluster::kSlurmUid;
  EXPECT_EQ(status_of(id, "node2", kRoot), 200);
}

TEST_F(OpenerTest, ACheckThatHangsIsABadNode) {
  hanging = {"node3"};
  book(seconds{120});
  ticks(30);
  EXPECT_THAT(cluster_.find_node("node3").reason, HasSubstr("did not end within"));
  EXPECT_THAT(nodes(), Not(Contains("node3")));
  EXPECT_EQ(live_checks(), 0);
}

TEST_F(OpenerTest, WhatAHangingCheckSaysWhenItIsEndedIsTooLate) {
  hanging = {"node3"};
  book(seconds{120});
  ticks(2);
  std::uint32_t id = 0;
  for (const auto& [number, job] : cluster_.jobs_) id = job.name == check_job_name("node3") ? number : id;
  ticks(30);
  opener_->take_findings(id, "node3", "clock: hangs", kRoot);
  ticks(90);
  EXPECT_THAT(lines("opened").at(0), HasSubstr("node3 is bad (its health check did not end within 20 s)"));
}

TEST_F(OpenerTest, ACheckWhoseLimitReachesIntoTheSegmentDoesNotKeepOtherNodesFromBeingSwapped) {
  bad = {"node2"};
  hanging = {"node3"};
  book(seconds{50});
  ticks(12);
  EXPECT_THAT(nodes(), Not(Contains("node2")));
  EXPECT_EQ(live_checks(), 1);
}

TEST_F(OpenerTest, ACheckThatCannotBeEndedDoesNotKeepTheNodeInThePlan) {
  hanging = {"node3"};
  cluster_.cancels_work = false;
  book(seconds{120});
  ticks(30);
  EXPECT_THAT(nodes(), Not(Contains("node3")));
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

TEST_F(OpenerTest, WhereNothingElseIsFreeTheBadNodeStaysAndHistorySaysSo) {
  book(seconds{60}, 7, 1);
  bad = {"node8"};
  ticks(61);
  EXPECT_THAT(nodes(), Contains("node8"));
  ASSERT_EQ(lines("opened").size(), 1U);
  EXPECT_THAT(lines("opened")[0],
              HasSubstr("node8 is bad (its health check ended with status 1) and stays: no "
                        "other node is free"));
}

TEST_F(OpenerTest, ACheckThatFailsEverywhereDrainsOnlyAFew) {
  book(seconds{120});
  for (int i = 1; i <= 8; ++i) bad.insert(fmt::format("node{}", i));
  ticks(121);
  EXPECT_EQ(drained(), 2);
  ASSERT_EQ(lines("opened").size(), 1U);
  EXPECT_THAT(
      lines("opened")[0],
      HasSubstr("health checks drain at most a quarter of a plan's nodes, and of the cluster's, or two; "
                "look whether the check is at fault"));
}

TEST_F(OpenerTest, WhereSlurmRefusesTheJobItIsSaidOnceAndGoesOnWithout) {
  cluster_.refuses_node_jobs = true;
  book(seconds{60});
  ticks(61);
  EXPECT_EQ(std::count(cluster_.calls.begin(), cluster_.calls.end(), "submit"), 1);
  EXPECT_FALSE(reserved());
  EXPECT_THAT(
      lines("opening skipped"),
      ElementsAre("segment 0: node[1-4] not checked: Slurm refuses the health check's job: Invalid account"));
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

TEST_F(OpenerTest, AChecksTimeDuringWhichSlurmctldWasAwayDoesNotCountAgainstItsNode) {
  hanging = {"node1", "node2", "node3", "node4"};  // they ended, but slurmctld has not heard of it
  book(seconds{300});
  ticks(3);
  cluster_.away = true;
  for (int i = 0; i < 60; ++i) {
    cluster_.now += 1;
    EXPECT_THROW(opener_->tend_once(), ClusterError);
  }
  cluster_.away = false;
  ticks(2);
  hanging.clear();
  ticks(5);
  EXPECT_EQ(shown(), "goes on: node[1-4] checked: good");
  EXPECT_THAT(cluster_.calls, Not(Contains("drain")));
}

TEST_F(OpenerTest, ACheckThatSlurmCutsOffEarlyIsNoBadNode) {
  hanging = {"node1"};
  book(seconds{120});
  ticks(5);
  for (auto& [id, job] : cluster_.jobs_) {
    if (job.name != check_job_name("node1")) continue;
    job.state = JobState::kFinished;
    job.timed_out = true;
    job.end = now();
  }
  cluster_.find_node("node1").idle = true;
  ticks(112);
  EXPECT_FALSE(cluster_.find_node("node1").drained);
  EXPECT_THAT(
      lines("opened"),
      ElementsAre("segment 0: node[2-4] checked: good; node1 not checked: its health check was cut off"));
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

// Killed at each point of an opening, with a bad node in it: the next stintd completes it or clears it away.
TEST(OpenerKill, NothingIsLeftAndTheBadNodeIsReplaced) {
  const auto live = [](OpenerTest& world, int count) {
    world.bad = {"node2"};
    world.book(seconds{35});
    world.ticks(count);
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
    while (world.cluster().now < 1'000'036) world.tick();
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
