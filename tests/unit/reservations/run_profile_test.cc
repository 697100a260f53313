// SPDX-License-Identifier: Apache-2.0
// The asking side of a profile, with this test in the place of the run.
#include "reservations/run_profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/ini.h"
#include "base/run_profile.h"

namespace stint::reservations {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using Json = nlohmann::json;

Json part(std::int64_t rank, double begin) {
  return {
      {"rank", rank},
      {"first_step", 41},
      {"steps", 2},
      {"clock_offset_us", 10.0 * static_cast<double>(rank)},
      {"clock_error_us", 1.0 + static_cast<double>(rank)},
      {"events",
       {{{"name", "forward layer 0"}, {"ph", "X"}, {"pid", rank}, {"tid", 0}, {"ts", begin}, {"dur", 5.0}},
        {{"name", "all_reduce"},
         {"ph", "X"},
         {"pid", rank},
         {"tid", 1},
         {"ts", begin + 5},
         {"dur", 2.5},
         {"args", {{"sequence", 7}, {"bytes", 4096}}}}}}};
}

class ProfileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = std::filesystem::temp_directory_path() / "stint-profile.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    run_.root = pattern;
    options_.steps = 2;
    options_.output = run_.root / "trace.json";
    options_.take = 10s;
    options_.answer = 20s;
    options_.last_words = 50ms;
    options_.look = 2ms;
  }
  void TearDown() override { std::filesystem::remove_all(run_.root); }

  void start() const {
    append_event(run_, "start", {{"job", "12"}, {"world", 4}, {"order", {"n2", "n1"}}, {"resume_step", 0}});
  }
  // The run takes the request and answers for these ranks.
  std::jthread answer(std::vector<int> ranks, std::string then = "") {
    return std::jthread(
        [this, ranks = std::move(ranks), then = std::move(then)](const std::stop_token& token) {
          std::optional<ProfileRequest> request;
          while (!token.stop_requested() && !(request = take_profile_request(run_)))
            std::this_thread::sleep_for(1ms);
          if (!request) return;
          std::filesystem::create_directories(profile_parts(run_, request->id));
          for (const int rank : ranks)
            write_file_atomically(profile_part(run_, request->id, rank).string(),
                                  part(rank, 100.0 * rank).dump());
          append_event(run_, "profile", {{"id", request->id}, {"steps", request->steps}});
          if (!then.empty()) append_event(run_, then, {{"step", 42}});
        });
  }
  ProfileSummary profile() {
    return profile_run(
        run_, options_, [this](const std::string&) { return job_is_over_; },
        [this](std::int64_t ranks) { taken_ = ranks; });
  }
  std::string problem() {
    try {
      profile();
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  }

  RunDirectory run_;
  ProfileOptions options_;
  bool job_is_over_ = false;
  std::int64_t taken_ = 0;
};

TEST_F(ProfileTest, PutsTheRanksPartsIntoOneTrace) {
  start();
  const auto run = answer({0, 1, 2, 3});
  const ProfileSummary summary = profile();
  EXPECT_EQ(summary.first_step, 41);
  EXPECT_EQ(summary.steps, 2);
  EXPECT_EQ(summary.ranks, 4);
  EXPECT_EQ(summary.clock_error_us, 4);
  EXPECT_EQ(taken_, 4);
  // What chrome://tracing requires of each event.
  const Json trace = Json::parse(read_file(options_.output.string(), 1 << 20));
  std::set<std::int64_t> ranks;
  std::vector<std::string> names;
  for (const Json& event : trace.at("traceEvents")) {
    ASSERT_TRUE(event.at("name").is_string() && event.at("pid").is_number() && event.at("tid").is_number());
    if (event.at("ph") == "M" && event.at("name") == "process_name")
      names.push_back(event.at("args").at("name"));
    if (event.at("ph") == "M") continue;
    ASSERT_EQ(event.at("ph"), "X");
    EXPECT_GE(event.at("ts"), 0);
    EXPECT_GT(event.at("dur"), 0);
    ranks.insert(event.at("pid").get<std::int64_t>());
  }
  EXPECT_EQ(ranks, (std::set<std::int64_t>{0, 1, 2, 3}));
  EXPECT_THAT(names, ElementsAre("rank 0 on n2", "rank 1 on n2", "rank 2 on n1", "rank 3 on n1"));
  EXPECT_EQ(trace.at("otherData").at("clocks").at(3).at("offset_us"), 30);
  EXPECT_TRUE(std::filesystem::is_empty(run_.root / "profile")) << "the parts are not needed any more";
}

TEST_F(ProfileTest, NamesTheRanksThatDidNotAnswer) {
  start();
  options_.answer = 100ms;
  const auto run = answer({0, 2});
  EXPECT_EQ(problem(), run_.root.string() + ": no profile of ranks 1 (n2), 3 (n1): within 0.1 s");
  EXPECT_FALSE(std::filesystem::exists(options_.output));
}

TEST_F(ProfileTest, ARunThatEndsMeanwhileIsNotWaitedFor) {
  start();
  const auto run = answer({0, 1, 2}, "start");
  EXPECT_EQ(problem(), run_.root.string() + ": no profile of rank 3 (n1): the run has begun anew meanwhile");
}

TEST_F(ProfileTest, ADamagedPartIsNoAnswer) {
  start();
  options_.answer = 100ms;
  append_event(run_, "step", {{"step", 1}});
  std::jthread run([this] {
    std::optional<ProfileRequest> request;
    while (!(request = take_profile_request(run_))) std::this_thread::sleep_for(1ms);
    std::filesystem::create_directories(profile_parts(run_, request->id));
    for (const int rank : {0, 1, 3})
      write_file_atomically(profile_part(run_, request->id, rank).string(), part(rank, 0).dump());
    std::ofstream(profile_part(run_, request->id, 2)) << R"({"rank": 2, "events": [{"name")";
    append_event(run_, "profile", {{"id", request->id}});
  });
  EXPECT_THAT(problem(), HasSubstr("no profile of rank 2 (n1)"));
}

TEST_F(ProfileTest, ARunThatDoesNotTrainIsRefused) {
  EXPECT_THAT(problem(), HasSubstr("does not train yet"));
  start();
  options_.take = 30ms;
  EXPECT_THAT(problem(), HasSubstr("no agent took the request within 0.03 s: the run does not train now"));
  EXPECT_FALSE(take_profile_request(run_)) << "a request that was given up must not be taken later";
  job_is_over_ = true;
  EXPECT_THAT(problem(), HasSubstr("its job 12 does not run"));
  append_event(run_, "finish", {{"step", 300}});
  EXPECT_THAT(problem(), HasSubstr("is finished; there is no step left to profile"));
}

TEST_F(ProfileTest, WrongWishesAreRefusedBeforeTheRunIsAsked) {
  start();
  for (const std::int64_t steps : {-1, 0, 1001}) {
    options_.steps = steps;
    EXPECT_EQ(problem(), "--steps " + std::to_string(steps) +
                             ": is not between 1 and 1000, the steps that can be recorded");
  }
  options_.steps = 2;
  options_.output = run_.root / "nowhere" / "trace.json";
  EXPECT_THAT(problem(), HasSubstr("nowhere: No such file or directory; name another place with -o"));
  options_.output = run_.root;
  EXPECT_THAT(problem(), HasSubstr("is a folder; name a file with -o"));
  EXPECT_FALSE(take_profile_request(run_));
}

TEST_F(ProfileTest, IsForTheRunsOwnerAlone) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a folder away";
  start();
  ASSERT_EQ(chown(run_.root.c_str(), 65534, 65534), 0);
  EXPECT_THAT(problem(), HasSubstr("who alone may profile it"));
  ASSERT_EQ(chown(run_.root.c_str(), 0, 0), 0);
  ask_for_profile(run_, {7, 2});
  ASSERT_EQ(chown((run_.root / "profile" / "request.json").c_str(), 65534, 65534), 0);
  EXPECT_FALSE(take_profile_request(run_)) << "somebody else's, in a folder that others can write to";
}

TEST_F(ProfileTest, OneRequestAtATimeAndNoNonsense) {
  ask_for_profile(run_, {7, 2});
  EXPECT_THAT(
      [&] {
        ask_for_profile(run_, {8, 2});
      },
      testing::ThrowsMessage<Error>(HasSubstr("another profile has been asked for and not begun")));
  EXPECT_EQ(take_profile_request(run_)->id, 7);
  EXPECT_FALSE(take_profile_request(run_)) << "it is taken once";
  for (const char* text : {"", "[]", "{\"id\":1}", "{\"id\":1,\"steps\":0}", "{\"id\":1,\"steps\":1001}",
                           "{\"id\":-1,\"steps\":1}", "{\"id\":1e300,\"steps\":1}", "\xff\xfe"}) {
    std::ofstream(run_.root / "profile" / "request.json") << text;
    EXPECT_FALSE(take_profile_request(run_)) << text;
  }
}

}  // namespace
}  // namespace stint::reservations
