// SPDX-License-Identifier: Apache-2.0
#include "reservations/changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/error.h"

namespace stint::reservations {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

sys_seconds at(int minute) {
  return sys_seconds{minutes{1'000'000 + minute}};
}

// One cent a node and minute.
Price cents(std::size_t nodes, const std::vector<Window>& windows) {
  Price price;
  for (const auto& window : windows)
    price.cents += static_cast<std::int64_t>(nodes) * ((window.end - window.start) / minutes{1});
  return price;
}

// n0 to n7 on leaf switches of four; the plan has n0 to n2 (one of them a spare) from 0 to 60.
struct ChangesTest : testing::Test {
  ChangesTest() {
    std::vector<PlannerNode> nodes;
    for (int i = 0; i < 8; ++i) nodes.push_back({"n" + std::to_string(i), {"spine", i < 4 ? "a" : "b"}});
    planner = std::make_unique<Planner>(nodes);
    plan.name = "demo";
    plan.nodes = 2;
    plan.spares = 1;
    plan.price.cents = 120;
    plan.segments = {{"demo.0", at(0), at(60), {"n0", "n1", "n2"}}};
    planner->add_span(plan.segments[0].nodes, {at(0), at(60)});
  }
  std::unique_ptr<Planner> planner;
  Plan plan;
};

TEST_F(ChangesTest, LongerOnTheSameNodesComesFirst) {
  const auto answer = lengthen(plan, minutes{30}, *planner, cents, Room{at(10), at(10), at(1'000)});
  ASSERT_FALSE(answer.proposals.empty());
  const auto& best = answer.proposals[0];
  ASSERT_THAT(best.wanted.segments, SizeIs(1));
  EXPECT_EQ(best.wanted.segments[0].end, at(90));
  EXPECT_EQ(best.adds_cents, 60);  // 2 nodes, 30 minutes; the spare is free
  EXPECT_EQ(best.wanted.price.cents, 180);
  EXPECT_THAT(best.why, HasSubstr("running jobs go on"));
}

TEST_F(ChangesTest, WhereItsNodesAreTakenItGoesOnElsewhereOrLater) {
  planner->add_span({"n0"}, {at(70), at(200)});
  auto answer = lengthen(plan, minutes{30}, *planner, cents, Room{at(10), at(10), at(1'000)});
  ASSERT_FALSE(answer.proposals.empty());
  ASSERT_THAT(answer.proposals[0].wanted.segments, SizeIs(2));
  EXPECT_EQ(answer.proposals[0].wanted.segments[0].end, at(60));
  EXPECT_EQ(answer.proposals[0].wanted.segments[1].reservation, "demo.1");
  EXPECT_EQ(answer.proposals[0].wanted.segments[1].start, at(60));
  EXPECT_THAT(answer.proposals[0].why, HasSubstr("on other nodes"));
  planner->add_span({"n3", "n4", "n5", "n6", "n7"}, {at(0), at(100)});
  answer = lengthen(plan, minutes{30}, *planner, cents, Room{at(10), at(10), at(1'000)});
  ASSERT_FALSE(answer.proposals.empty());
  EXPECT_EQ(answer.proposals[0].wanted.segments[1].start, at(100));
}

TEST_F(ChangesTest, WithoutTimeBeforeTheLimitTheReasonIsTold) {
  const auto answer = lengthen(plan, minutes{30}, *planner, cents, Room{at(10), at(10), at(80)});
  EXPECT_THAT(answer.proposals, IsEmpty());
  EXPECT_FALSE(answer.reason.empty());
  EXPECT_FALSE(answer.remedy.empty());
}

TEST_F(ChangesTest, WiderTakesTheNearestNodesForTheRestOfTheTime) {
  const auto answer = widen(plan, 3, 1, *planner, cents, at(20));
  ASSERT_THAT(answer.proposals, SizeIs(1));
  EXPECT_THAT(answer.proposals[0].wanted.segments[0].nodes, ElementsAre("n0", "n1", "n2", "n3"));
  EXPECT_EQ(answer.proposals[0].adds_cents, 40);
}

TEST_F(ChangesTest, WiderThanWhatIsFreeSaysHowManyAre) {
  planner->add_span({"n3", "n4", "n5", "n6"}, {at(50), at(55)});
  const auto answer = widen(plan, 5, 1, *planner, cents, at(20));
  EXPECT_THAT(answer.proposals, IsEmpty());
  EXPECT_THAT(answer.reason, HasSubstr("3 nodes more would be needed"));
  EXPECT_THAT(answer.remedy, HasSubstr("take 1 node more"));
}

TEST_F(ChangesTest, ShorterDropsSegmentsAndGivesTheirPriceBack) {
  plan.segments.push_back({"demo.1", at(120), at(180), {"n0", "n1", "n2"}});
  plan.price.cents = 240;
  auto proposal = shorten(plan, at(90), cents, at(10));
  ASSERT_THAT(proposal.wanted.segments, SizeIs(1));
  EXPECT_EQ(proposal.wanted.segments[0].end, at(60));
  EXPECT_EQ(proposal.adds_cents, -120);
  EXPECT_EQ(shorten(plan, at(30), cents, at(10)).wanted.segments[0].end, at(30));
  EXPECT_THROW(shorten(plan, at(180), cents, at(10)), Error);
  EXPECT_THROW(shorten(plan, at(10), cents, at(10)), Error);
}

TEST_F(ChangesTest, NarrowerKeepsTheNodesOfItsJobs) {
  plan.segments[0].nodes = {"n0", "n1", "n4"};
  const auto proposal = narrow(plan, 1, 0, {"n4"}, *planner, cents, at(30));
  EXPECT_THAT(proposal.wanted.segments[0].nodes, ElementsAre("n4"));
  EXPECT_EQ(proposal.adds_cents, -30);
  EXPECT_THAT(narrow(plan, 2, 0, {}, *planner, cents, at(30)).wanted.segments[0].nodes,
              ElementsAre("n0", "n1"));  // one leaf switch
  EXPECT_THROW(narrow(plan, 1, 0, {"n1", "n4"}, *planner, cents, at(30)), Error);
}

TEST_F(ChangesTest, OnlyWhatIsNewMustBeFree) {
  EXPECT_THAT(taken_for(plan, plan, *planner, at(10)), IsEmpty());
  Plan wanted = plan;
  wanted.segments[0].end = at(90);
  wanted.segments[0].nodes.push_back("n5");
  EXPECT_THAT(taken_for(plan, wanted, *planner, at(10)), IsEmpty());
  planner->add_span({"n1"}, {at(80), at(95)});
  planner->add_span({"n5"}, {at(20), at(25)});
  EXPECT_THAT(taken_for(plan, wanted, *planner, at(10)), UnorderedElementsAre("n1", "n5"));
}

// Whatever is proposed can be had: the new parts are free, and nothing that the plan had is missing.
TEST_F(ChangesTest, ProposalsHoldOnRandomClusters) {
  std::mt19937 random(7);
  const auto upto = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  int proposals = 0;
  for (int round = 0; round < 2'000; ++round) {
    Planner cluster = *planner;
    for (int i = upto(6); i > 0; --i) {
      const int start = upto(200);
      const std::string node = "n" + std::to_string(3 + upto(5));
      cluster.add_span({node}, {at(start), at(start + 1 + upto(60))});
    }
    for (int i = upto(2); i > 0; --i) {
      const int start = 60 + upto(100);
      cluster.add_span({"n" + std::to_string(upto(3))}, {at(start), at(start + 1 + upto(60))});
    }
    const int now = upto(60);
    auto all =
        lengthen(plan, minutes{1 + upto(60)}, cluster, cents, Room{at(now), at(now), at(300)}).proposals;
    const auto wider = widen(plan, 2 + upto(4), 1 + upto(2), cluster, cents, at(now)).proposals;
    all.insert(all.end(), wider.begin(), wider.end());
    for (const auto& proposal : all) {
      ++proposals;
      EXPECT_THAT(taken_for(plan, proposal.wanted, cluster, at(now)), IsEmpty());
      EXPECT_GE(proposal.wanted.segments[0].end, plan.segments[0].end);
      EXPECT_THAT(proposal.wanted.segments[0].nodes, testing::IsSupersetOf(plan.segments[0].nodes));
      for (const auto& segment : proposal.wanted.segments)
        EXPECT_EQ(segment.nodes.size(),
                  static_cast<std::size_t>(proposal.wanted.nodes + proposal.wanted.spares));
      EXPECT_GE(proposal.adds_cents, 0);
    }
  }
  EXPECT_GT(proposals, 2'000);
}

}  // namespace
}  // namespace stint::reservations
