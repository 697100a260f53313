// SPDX-License-Identifier: Apache-2.0
#include "reservations/api.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reservations/pages.h"
#include "reservations/plan_view.h"
#include "tests/unit/reservations/fake_cluster.h"
#include "tests/unit/reservations/scratch.h"

namespace stint::reservations {
namespace {

using testing::HasSubstr;
using testing::Not;

class ApiTest : public testing::Test {
 protected:
  ApiTest()
      : cluster_(8, scratch_.path()),
        ledger_(scratch_.file("ledger.db")),
        book_(
            cluster_, ledger_, metrics_, {}, [this] { return cluster_.now; },
            [](std::chrono::milliseconds) {}),
        failures_(cluster_, ledger_, metrics_, prober_, {}, [this] { return cluster_.now; }),
        shepherd_(cluster_, ledger_, metrics_, {}, [this] { return cluster_.now; }),
        opener_(cluster_, ledger_, metrics_, {}, [this] { return cluster_.now; }),
        lookout_(cluster_),
        privacy_(cluster_, lookout_, book_.gate()),
        api_(book_, failures_, shepherd_, opener_, ledger_, privacy_, [this] { return cluster_.now; }) {
    cluster_.now = 1'000'000;
    lookout_.look();
  }
  ApiReply call(const std::string& method, const std::string& path, const std::string& body = {},
                std::uint32_t uid = 0) {
    return api_.handle(method, path, body, uid);
  }
  static std::string error_of(const ApiReply& reply) { return reply.body.value("error", ""); }

  Scratch scratch_;
  FakeCluster cluster_;
  Ledger ledger_;
  Metrics metrics_;
  TcpProber prober_;
  Book book_;
  Failures failures_;
  Shepherd shepherd_;
  Opener opener_;
  Lookout lookout_;
  Privacy privacy_;
  Api api_;
};

TEST_F(ApiTest, APlanGoesThroughItsLife) {
  const auto made = call("POST", "/v1/plans", R"({"name":"demo","nodes":4,"spares":1,"duration":600})");
  ASSERT_EQ(made.status, 200) << made.body;
  EXPECT_EQ(made.body["state"], "active");
  EXPECT_EQ(made.body["segments"][0]["reservation"], "demo.0");
  EXPECT_EQ(made.body["price"]["amount"], "0.00");
  auto shown = call("GET", "/v1/plans/demo").body;
  EXPECT_EQ(shown["jobs"], nlohmann::json::array());
  shown.erase("jobs");
  EXPECT_EQ(shown, made.body);
  EXPECT_EQ(call("GET", "/v1/plans").body.size(), 1U);
  EXPECT_EQ(call("DELETE", "/v1/plans/demo").body["state"], "cancelled");
  EXPECT_EQ(call("DELETE", "/v1/plans/demo", R"({"force":true})").status, 409);
}

TEST_F(ApiTest, APlanIsShownWithItsJobsAndWherePrivateDataHidesThemWithThoseOfTheCaller) {
  call("POST", "/v1/plans", R"({"name":"demo","nodes":4,"duration":600,"users":["root","nobody"]})");
  cluster_.add_job(7, {"node1"}, "demo.0").uid = 65'534;
  cluster_.add_job(8, {}, "demo.0").uid = 0;
  cluster_.add_job(9, {}, "other.0");
  const auto jobs = [&](std::uint32_t uid) {
    std::vector<int> ids;
    const auto reply = call("GET", "/v1/plans/demo", "", uid);
    for (const auto& job : reply.body["jobs"]) ids.push_back(job["id"]);
    return ids;
  };
  lookout_.look();
  EXPECT_THAT(jobs(65'534), testing::ElementsAre(7, 8));
  cluster_.private_data = true;
  lookout_.look();
  EXPECT_THAT(jobs(65'534), testing::ElementsAre(7));
  EXPECT_THAT(jobs(0), testing::ElementsAre(7, 8));
}

TEST_F(ApiTest, APlanHasAHistory) {
  call("POST", "/v1/plans", R"({"name":"demo","nodes":4,"duration":600})");
  const auto history = call("GET", "/v1/plans/demo/history");
  ASSERT_EQ(history.body.size(), 1U) << history.body;
  EXPECT_EQ(history.body[0]["action"], "booked");
  EXPECT_EQ(call("GET", "/v1/plans/other/history").status, 404);
  EXPECT_EQ(call("DELETE", "/v1/plans/demo/history").status, 404);
  EXPECT_EQ(call("GET", "/v1/plans/demo").body["state"], "active");
}

TEST_F(ApiTest, ARunningJobOfAPlanHasAWindow) {
  call("POST", "/v1/plans", R"({"name":"demo","nodes":4,"duration":600})");
  cluster_.add_job(7, {"node1"}, "demo.0").uid = 0;
  const auto window = call("GET", "/v1/jobs/7/window");
  ASSERT_EQ(window.status, 200) << window.body;
  EXPECT_EQ(window.body["plan"], "demo");
  EXPECT_EQ(window.body["ends"], 1'000'600);
  EXPECT_TRUE(window.body["next_start"].is_null());
  EXPECT_EQ(call("GET", "/v1/jobs/7/window", "", 1001).status, 403);
  EXPECT_EQ(call("GET", "/v1/jobs/8/window").status, 404);
  EXPECT_EQ(call("GET", "/v1/jobs/seven/window").status, 404);
  EXPECT_EQ(call("POST", "/v1/jobs/7/window").status, 404);
}

TEST_F(ApiTest, OffersAreSearchedAndBooked) {
  const auto found = call("POST", "/v1/offers", R"({"nodes":2,"duration":600})");
  ASSERT_EQ(found.status, 200) << found.body;
  const auto id = found.body["offers"][0]["id"].get<std::string>();
  EXPECT_EQ(call("POST", "/v1/plans", R"({"name":"x","offer":")" + id + R"(","nodes":2})").status, 400);
  EXPECT_EQ(call("POST", "/v1/plans", R"({"name":"x","offer":")" + id + R"("})").status, 200);
  const auto taken = call("POST", "/v1/plans", R"({"name":"y","offer":")" + id + R"("})");
  EXPECT_EQ(taken.status, 409);
  EXPECT_FALSE(taken.body["instead"]["offers"].empty());
  EXPECT_EQ(call("POST", "/v1/offers", R"({"nodes":2})").status, 400);
  EXPECT_EQ(call("POST", "/v1/offers", R"({"nodes":2,"duration":600,"colour":"red"})").status, 400);
  EXPECT_EQ(call("POST", "/v1/availability", "{}").body["nodes"], 8);
}

TEST_F(ApiTest, AQuoteSaysSo) {
  const auto quote = call("POST", "/v1/plans", R"({"name":"demo","nodes":4,"duration":600,"quote":true})");
  EXPECT_EQ(quote.body["state"], "quote");
  EXPECT_EQ(call("GET", "/v1/plans/demo").status, 404);
}

TEST_F(ApiTest, ACancelThatIsOnlyAskedAboutChangesNothingAndSaysWhatItWouldEnd) {
  call("POST", "/v1/plans", R"({"name":"demo","nodes":4,"duration":600})");
  cluster_.add_job(7, {"node1"}, "demo.0").uid = 0;
  lookout_.look();
  EXPECT_THAT(error_of(call("DELETE", "/v1/plans/demo", R"({"quote":true})")), HasSubstr("job 7 is in it"));
  const auto quote = call("DELETE", "/v1/plans/demo", R"({"quote":true,"force":true})");
  ASSERT_EQ(quote.status, 200) << quote.body;
  EXPECT_EQ(quote.body["state"], "active");
  EXPECT_EQ(quote.body["jobs"][0]["id"], 7);
  EXPECT_EQ(quote.body["gives_back"], "");
  EXPECT_EQ(call("GET", "/v1/plans/demo").body["state"], "active");
  EXPECT_EQ(cluster_.jobs().size(), 1U);
  EXPECT_EQ(call("DELETE", "/v1/plans/demo", R"({"now":true})").status, 400);
}

TEST_F(ApiTest, TagsAreWrittenAndReportedByWhoMaySeeThePlan) {
  constexpr std::uint32_t kMember = 65'534;
  cluster_.accounts_[0] = {"lab"};
  cluster_.accounts_[kMember] = {"lab"};
  call("POST", "/v1/plans", R"({"name":"demo","nodes":4,"duration":600,"tags":{"project":"llm"}})");
  const auto tagged = call("POST", "/v1/plans/demo/tags", R"({"set":{"team":"a"},"remove":["project"]})");
  ASSERT_EQ(tagged.status, 200) << tagged.body;
  EXPECT_EQ(tagged.body["tags"], (nlohmann::json{{"team", "a"}}));
  EXPECT_EQ(call("POST", "/v1/plans/demo/tags", R"({"set":{"team":"a"}})", kMember).status, 403);
  EXPECT_EQ(call("POST", "/v1/plans/demo/tags", R"({"set":{"te am":"a"}})").status, 400);
  const auto value_for = [&](std::uint32_t uid) {
    return call("POST", "/v1/report", R"({"by_tag":"team","account":"lab"})", uid).body["lines"][0]["value"];
  };
  EXPECT_EQ(value_for(0), "a");
  EXPECT_EQ(value_for(kMember), "a");
  cluster_.private_data = true;
  lookout_.look();
  EXPECT_EQ(value_for(0), "a");
  EXPECT_EQ(value_for(kMember), "");
  EXPECT_EQ(call("POST", "/v1/plans/demo/tags", R"({"set":{"team":"a"}})", kMember).status, 404);
  EXPECT_EQ(call("POST", "/v1/report", R"({"by_tag":"te am"})").status, 400);
}

TEST_F(ApiTest, BadRequestsGetAStatusAndAReason) {
  EXPECT_EQ(call("POST", "/v1/plans", "not json").status, 400);
  EXPECT_EQ(call("POST", "/v1/plans", std::string("\x00\xff\xfe", 3)).status, 400);
  EXPECT_EQ(call("POST", "/v1/plans", "[]").status, 400);
  EXPECT_EQ(call("POST", "/v1/plans", std::string(100'000, '[')).status, 400);
  EXPECT_THAT(error_of(call("POST", "/v1/plans", R"({"name":"demo","nodes":-4,"duration":600})")),
              HasSubstr("plan demo: nodes must be 1 to 65536"));
  EXPECT_EQ(call("GET", "/v1/plans/" + std::string(300, 'a')).status, 404);
  EXPECT_EQ(call("GET", "/v1/plans/../../etc").status, 404);
  EXPECT_EQ(call("PUT", "/v1/plans").status, 404);
  EXPECT_EQ(call("GET", "/v1/jobs/abc/events").status, 404);
  EXPECT_EQ(call("GET", "/v1/jobs//events").status, 404);
  EXPECT_EQ(call("GET", "/v1/jobs/4294967296/events").status, 404);
  EXPECT_EQ(call("POST", "/v1/failures", R"({"job":"7","node":"node1"})").status, 400);
  EXPECT_EQ(call("POST", "/v1/failures", R"({"job":-7,"node":"node1"})").status, 400);
  EXPECT_EQ(call("POST", "/v1/failures", R"({"job":7})").status, 400);
  EXPECT_EQ(call("POST", "/v1/failures", R"({"job":7,"node":"node1","why":"x"})").status, 404);
  EXPECT_EQ(call("DELETE", "/v1/plans/demo", R"({"force":"yes"})").status, 400);
}

TEST_F(ApiTest, EventsOfAJobAreListed) {
  ledger_.add_event({12.5, 7, "node_failed", "node3", "slurmd does not answer"});
  const auto reply = call("GET", "/v1/jobs/7/events");
  ASSERT_EQ(reply.body.size(), 1U);
  EXPECT_EQ(reply.body[0]["event"], "node_failed");
  EXPECT_EQ(reply.body[0]["node"], "node3");
  EXPECT_DOUBLE_EQ(reply.body[0]["t"], 12.5);
}

TEST_F(ApiTest, AnAbsentControllerIsAServiceError) {
  cluster_.away = true;
  const auto reply = call("POST", "/v1/plans", R"({"name":"demo","nodes":4,"duration":600})");
  EXPECT_EQ(reply.status, 503);
  EXPECT_THAT(error_of(reply),
              HasSubstr("Unable to contact slurm controller; nothing is changed, try again"));
}

TEST_F(ApiTest, PrivatePlansOfOthersAreNotThere) {
  ASSERT_EQ(call("POST", "/v1/plans", R"({"name":"demo","nodes":4,"duration":600})").status, 200);
  ledger_.add_event({12.5, 7, "node_swapped", "node3", "replaced by node5 in plan demo"});
  cluster_.private_data = true;
  lookout_.look();
  constexpr std::uint32_t kStranger = 4'000'000;
  EXPECT_EQ(call("GET", "/v1/plans", {}, kStranger).body.size(), 0U);
  EXPECT_EQ(call("GET", "/v1/plans").body.size(), 1U);
  const auto hidden = call("GET", "/v1/plans/demo", {}, kStranger);
  const auto absent = call("GET", "/v1/plans/mode", {}, kStranger);
  EXPECT_EQ(hidden.status, absent.status);
  EXPECT_EQ(error_of(hidden), "plan demo: there is no such plan; see 'stint plan list'");
  EXPECT_EQ(error_of(absent), "plan mode: there is no such plan; see 'stint plan list'");
  EXPECT_EQ(call("GET", "/v1/plans/demo/history", {}, kStranger).status, 404);
  EXPECT_EQ(call("DELETE", "/v1/plans/demo", {}, kStranger).status, 404);
  EXPECT_EQ(call("GET", "/v1/jobs/7/events", {}, kStranger).status, 404);
  EXPECT_EQ(error_of(call("POST", "/v1/plans", R"({"name":"demo","nodes":1,"duration":600})", kStranger)),
            "plan demo: the name is taken; take another");
  EXPECT_EQ(call("GET", "/v1/plans/demo").status, 200);
}

TEST_F(ApiTest, WhereJobsArePrivateWhatHappenedToThemIsToo) {
  ledger_.add_event({12.5, 7, "node_failed", "node3", "slurmd does not answer"});
  constexpr std::uint32_t kStranger = 4'000'000;
  EXPECT_EQ(call("GET", "/v1/jobs/7/events", {}, kStranger).status, 200);
  cluster_.private_jobs = true;
  lookout_.look();
  EXPECT_EQ(call("GET", "/v1/jobs/7/events", {}, kStranger).status, 404);
  EXPECT_EQ(call("GET", "/v1/jobs/7/events").status, 200);
}

TEST_F(ApiTest, PagesShowPlansUnlessTheyArePrivate) {
  ASSERT_EQ(call("POST", "/v1/plans", R"({"name":"demo","nodes":4,"duration":600})").status, 200);
  const Pages pages(book_, lookout_, [this] { return cluster_.now; });
  EXPECT_THAT(pages.calendar("").html, HasSubstr("data-plan=\"demo\""));
  EXPECT_EQ(pages.plan("demo").status, 200);
  EXPECT_EQ(pages.plan("other").status, 404);
  EXPECT_EQ(pages.plan("<script>").status, 404);
  cluster_.private_data = true;
  lookout_.look();
  EXPECT_THAT(pages.calendar("").html, Not(HasSubstr("demo")));
  EXPECT_EQ(pages.plan("demo").status, 404);
  EXPECT_EQ(pages.plan("demo").html, pages.plan("other").html);
}

TEST_F(ApiTest, CapacityShowsLossesFromTheSparesFirst) {
  nlohmann::json plan{
      {"nodes", 4},
      {"segments", {{{"nodes", {"a", "b", "c", "d", "e"}}, {"lost", nlohmann::json::array()}}}}};
  EXPECT_EQ(capacity_text(plan), "4+1");
  plan["segments"][0]["lost"] = {"a"};
  EXPECT_EQ(capacity_text(plan), "4+0 (1 lost)");
  plan["segments"][0]["lost"] = {"a", "b"};
  EXPECT_EQ(capacity_text(plan), "3+0 (2 lost)");
  plan["segments"].push_back({{"nodes", {"a", "b", "c"}}, {"lost", nlohmann::json::array()}});
  plan["segment"] = 1;  // the first one is over, and the plan was shrunk since
  plan["nodes"] = 3;
  EXPECT_EQ(capacity_text(plan), "3+0");
}

}  // namespace
}  // namespace stint::reservations
