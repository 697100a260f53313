// SPDX-License-Identifier: Apache-2.0
#include "reservations/calendar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "reservations/html.h"
#include "reservations/timeline.h"

namespace stint::reservations {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::HasSubstr;
using testing::Not;

constexpr sys_seconds kNow{seconds{1'795'000'000}};

Plan plan_of(const std::string& name, sys_seconds start, seconds length, std::vector<std::string> nodes) {
  Plan plan;
  plan.name = name;
  plan.phase = Phase::kBooked;
  plan.owner = "alice";
  plan.users = {"alice"};
  plan.kind.partition = "main";
  plan.nodes = static_cast<int>(nodes.size());
  plan.price.currency = "EUR";
  plan.segments.push_back({name + ".0", start, start + length, std::move(nodes)});
  return plan;
}

Sight sight_of(int nodes, int per_leaf = 4) {
  Sight sight;
  sight.known = true;
  sight.private_plans = sight.private_jobs = false;
  for (int i = 0; i < nodes; ++i)
    sight.nodes.push_back({"node" + std::to_string(i + 1), "leaf" + std::to_string(i / per_leaf + 1), false});
  return sight;
}

std::string page_of(const std::vector<Plan>& plans, const Sight& sight, bool anonymous = false) {
  return calendar_page({plans, sight, kNow, "1d", anonymous});
}

struct Bar {
  double x, y, width, height;
};

// The bars of a plan, in the order drawn.
std::vector<Bar> bars_of(const std::string& html, const std::string& plan) {
  const std::regex bar(
      "<rect class=\"bar [a-z]+\" data-plan=\"" + plan +
      R"re(" data-segment="\d+" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)")re");
  std::vector<Bar> bars;
  for (auto it = std::sregex_iterator(html.begin(), html.end(), bar); it != std::sregex_iterator(); ++it)
    bars.push_back({std::stod((*it)[1]), std::stod((*it)[2]), std::stod((*it)[3]), std::stod((*it)[4])});
  return bars;
}

double number_of(const std::string& html, const std::string& attribute) {
  std::smatch found;
  if (!std::regex_search(html, found, std::regex(attribute + "=\"([0-9.]+)\""))) return -1;
  return std::stod(found[1]);
}

TEST(Calendar, ABarStandsWhereItsSegmentIsInTime) {
  const auto html = page_of({plan_of("sft", kNow + hours{6}, hours{12}, {"node1", "node2"})}, sight_of(8));
  const auto bars = bars_of(html, "sft");
  ASSERT_EQ(bars.size(), 1U);
  const double from = number_of(html, "data-from");
  const double scale = number_of(html, "data-width") / (number_of(html, "data-until") - from);
  const double start = static_cast<double>((kNow + hours{6}).time_since_epoch().count());
  EXPECT_NEAR(bars[0].x, number_of(html, "data-left") + (start - from) * scale, 0.1);
  EXPECT_NEAR(bars[0].width, 12 * 3600 * scale, 0.1);
}

TEST(Calendar, NeighbouringNodesAreOneBarAndLeafSwitchesPartThem) {
  const auto html =
      page_of({plan_of("sft", kNow, hours{6}, {"node3", "node1", "node2", "node5", "node7"})}, sight_of(8));
  const auto bars = bars_of(html, "sft");
  ASSERT_EQ(bars.size(), 3U);
  EXPECT_DOUBLE_EQ(bars[0].height, 3 * 20 - 2);
  EXPECT_DOUBLE_EQ(bars[1].height, 20 - 2);
  EXPECT_GT(bars[2].y, bars[1].y + bars[1].height);
}

TEST(Calendar, StatesHaveTheirLooks) {
  auto booking = plan_of("early", kNow, hours{1}, {"node1"});
  booking.phase = Phase::kBooking;
  auto failed = plan_of("broken", kNow, hours{1}, {"node4"});
  failed.phase = Phase::kFailed;
  const auto html = page_of({plan_of("open", kNow, hours{1}, {"node2"}), booking, failed,
                             plan_of("next", kNow + hours{2}, hours{1}, {"node3"}),
                             plan_of("past", kNow - hours{1}, hours{1}, {"node3"})},
                            sight_of(4));
  EXPECT_THAT(html, HasSubstr("<rect class=\"bar active\" data-plan=\"open\""));
  EXPECT_THAT(html, HasSubstr("<rect class=\"bar booking\" data-plan=\"early\""));
  EXPECT_THAT(html, HasSubstr("<rect class=\"bar scheduled\" data-plan=\"next\""));
  EXPECT_THAT(html, HasSubstr("<rect class=\"bar over\" data-plan=\"past\""));
  EXPECT_TRUE(bars_of(html, "broken").empty());
  EXPECT_THAT(html, HasSubstr("<span class=\"state failed nowrap\">failed</span>"));
}

TEST(Calendar, LostNodesAreMarkedAndCounted) {
  auto sight = sight_of(4);
  sight.nodes[1].lost = true;
  const auto html = page_of({plan_of("sft", kNow, hours{6}, {"node1", "node2"})}, sight);
  EXPECT_THAT(html, HasSubstr("data-node=\"node2\""));
  EXPECT_THAT(html, Not(HasSubstr("data-node=\"node1\"")));
  EXPECT_THAT(html, HasSubstr("<b>1</b><span>booked nodes are lost</span>"));
  EXPECT_THAT(html, HasSubstr("2+0 <span class=\"warn\">1 lost</span>"));
}

TEST(Calendar, EveryTextIsEscaped) {
  const std::string evil = "<script>alert('x')</script>\"&";
  auto plan = plan_of("sft", kNow, hours{6}, {evil});
  plan.owner = plan.kind.partition = plan.name = plan.reason = evil;
  plan.users = {evil};
  plan.segments[0].reservation = evil;
  auto sight = sight_of(1);
  sight.nodes[0] = {evil, evil, true};
  sight.jobs = {{7, 1000, evil, evil, JobState::kRunning, {evil}}};
  const std::vector<HistoryEntry> history{{1.0, evil, evil, evil}};
  for (const auto& html : {page_of({plan}, sight), plan_page(plan, history, sight, kNow),
                           message_page(evil, evil, kNow), page_of({plan}, Sight{})}) {
    EXPECT_THAT(html, HasSubstr("&lt;script&gt;"));
    EXPECT_THAT(html, Not(HasSubstr("<script")));
    EXPECT_THAT(html, Not(HasSubstr("'x'")));
  }
  EXPECT_EQ(escaped(std::string("a\0\x1b\n", 4)), "a???");
}

TEST(Calendar, AnonymousItShowsWhenAndHowManyButNotWhose) {
  auto plan = plan_of("secret", kNow, hours{6}, {"node1", "node2", "node3"});
  plan.segments.push_back({"secret.1", kNow + hours{8}, kNow + hours{9}, {"node6"}});
  for (const int nodes : {8, 200}) {
    const auto html = page_of({plan}, sight_of(nodes), true);
    EXPECT_THAT(html, HasSubstr("class=\"bar active\""));
    EXPECT_THAT(html, Not(HasSubstr("secret")));
    EXPECT_THAT(html, Not(HasSubstr("alice")));
    EXPECT_THAT(html, Not(HasSubstr("id=\"plans\"")));
    EXPECT_THAT(html, HasSubstr("3 nodes"));
  }
}

TEST(Calendar, WithoutPlansOrSlurmItSaysSo) {
  EXPECT_THAT(page_of({}, sight_of(4)), HasSubstr("There are no plans yet."));
  EXPECT_THAT(page_of({}, Sight{}), HasSubstr("Slurm has not answered yet"));
  EXPECT_THAT(page_of({plan_of("sft", kNow, hours{6}, {"node1"})}, Sight{}), HasSubstr("data-plan=\"sft\""));
}

TEST(Calendar, TenThousandNodesAndPlansStaySmall) {
  std::vector<Plan> plans;
  std::vector<std::string> all;
  const auto sight = sight_of(10'000, 40);
  for (const auto& node : sight.nodes) all.push_back(node.name);
  for (int i = 0; i < 5'000; ++i)
    plans.push_back(plan_of("p" + std::to_string(i), kNow + hours{i % 20}, hours{1}, {all[i]}));
  plans.push_back(plan_of("everything", kNow, hours{1}, all));
  const auto html = page_of(plans, sight);
  EXPECT_LT(html.size(), 400'000U);
  EXPECT_THAT(html, HasSubstr("more plans</text>"));
  EXPECT_THAT(html, HasSubstr("<code>stint plan list</code> shows all"));
  EXPECT_LT(plan_page(plans.back(), {}, sight, kNow).size(), 100'000U);

  std::vector<Plan> scattered;  // every other node: no two are neighbours
  const auto few = sight_of(128);
  for (int i = 0; i < 500; ++i) {
    auto plan = plan_of("s" + std::to_string(i), kNow, hours{1}, {});
    for (std::size_t k = 0; k < few.nodes.size(); k += 2) plan.segments[0].nodes.push_back(few.nodes[k].name);
    scattered.push_back(std::move(plan));
  }
  const auto dense = page_of(scattered, few);
  EXPECT_LT(dense.size(), 2'500'000U);
  EXPECT_THAT(dense, HasSubstr("more bars are not drawn"));
}

TEST(Calendar, TheBookedShareFollowsThePlans) {
  const auto sight = sight_of(4);
  const std::vector<Plan> plans{plan_of("half", kNow, hours{6}, {"node1", "node2"})};
  const auto span = span_of("1d", plans, kNow);
  const auto svg = booked_share_svg({plans, sight.nodes, kNow, span});
  EXPECT_THAT(svg,
              testing::ContainsRegex("class=\"share-edge\" d=\"M150 80.0H[0-9]+V48.0H[0-9]+V80.0H1092\""));
}

TEST(Calendar, TheSpanShowsAllLivePlansUnlessTheReaderChooses) {
  const std::vector<Plan> plans{plan_of("far", kNow + hours{30}, hours{4}, {"node1"})};
  EXPECT_GE(span_of("", plans, kNow).until, kNow + hours{34});
  EXPECT_LE(span_of("", plans, kNow).until, kNow + hours{49});
  EXPECT_LE(span_of("6h", plans, kNow).until, kNow + hours{7});
  EXPECT_EQ(span_of("<script>", plans, kNow).until, span_of("", plans, kNow).until);
  EXPECT_LT(span_of("", {}, kNow).from, kNow);
}

TEST(Calendar, APlansPageTellsItsSegmentsJobsAndHistory) {
  auto plan = plan_of("sft", kNow - hours{1}, hours{2}, {"node1", "node2"});
  plan.segments.push_back({"sft.1", kNow + hours{5}, kNow + hours{6}, {"node1", "node2"}});
  plan.tags = {{"project", "llm"}};
  auto sight = sight_of(4);
  sight.jobs = {{7, 1000, "train", "sft.0", JobState::kRunning, {"node1"}},
                {8, 1000, "other", "else.0", JobState::kRunning, {"node3"}}};
  const auto html = plan_page(plan, {{1'794'990'000, "alice", "booked", "2+0 nodes"}}, sight, kNow);
  EXPECT_EQ(bars_of(html, "sft").size(), 2U);
  for (const char* text :
       {"sft.0", "sft.1", "node[1-2]", "train", "running", "2+0 nodes", "booked", "project=llm"})
    EXPECT_THAT(html, HasSubstr(text));
  EXPECT_THAT(html, Not(HasSubstr("other")));
  sight.private_jobs = true;
  EXPECT_THAT(plan_page(plan, {}, sight, kNow), Not(HasSubstr("train")));
}

TEST(Html, TimesAreShortAndExact) {
  EXPECT_EQ(people_span(seconds{59}), "59 s");
  EXPECT_EQ(people_span(seconds{3'600}), "1 h");
  EXPECT_EQ(people_span(seconds{3'660}), "1 h 1 min");
  EXPECT_EQ(people_span(seconds{2 * 86'400 + 3 * 3'600 + 60}), "2 d 3 h");
  EXPECT_EQ(shortened("abcdef", 4), "abc…");
  EXPECT_EQ(shortened("abcd", 4), "abcd");
}

}  // namespace
}  // namespace stint::reservations
