// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

#include "base/error.h"
#include "reservations/run_watch.h"

namespace stint::reservations {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using Json = nlohmann::json;

class LogFollowerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = std::filesystem::temp_directory_path() / "stint-watch.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    run_.root = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(run_.root); }
  void append(const std::string& text) const { std::ofstream(run_.log(), std::ios::app) << text; }
  RunDirectory run_;
};

TEST_F(LogFollowerTest, GivesEachEventOnceWhenItsLineIsWhole) {
  LogFollower follower(run_);
  EXPECT_THAT(follower.next(), IsEmpty()) << "no log yet";
  append("{\"t\":1,\"event\":\"start\"}\n{\"t\":2,\"ev");
  EXPECT_THAT(follower.next(), SizeIs(1));
  EXPECT_THAT(follower.next(), IsEmpty());
  append("ent\":\"step\"}\n");
  const auto events = follower.next();
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0]["event"], "step");
}

TEST_F(LogFollowerTest, PassesOverDamagedLines) {
  LogFollower follower(run_);
  append("{\"t\":1,\n\xff\xfe\n[]\n{\"event\":7}\n{\"t\":2,\"event\":\"finish\"}\n");
  EXPECT_THAT(follower.next(), SizeIs(1));
}

TEST_F(LogFollowerTest, WhatIsNoFileIsNotFollowedForEver) {
  LogFollower follower(run_);
  std::filesystem::create_directory(run_.log());
  EXPECT_THROW(follower.next(), Error);
}

TEST_F(LogFollowerTest, ReadsMoreThanABuffer) {
  LogFollower follower(run_);
  for (int i = 0; i < 5000; ++i) append("{\"t\":1,\"event\":\"step\",\"step\":" + std::to_string(i) + "}\n");
  EXPECT_THAT(follower.next(), SizeIs(5000));
}

Json event(const std::string& name, Json fields = Json::object()) {
  fields["event"] = name;
  fields["t"] = 1;
  return fields;
}

TEST(RunWatch, TellsARunThatLosesANode) {
  RunWatch watch;
  EXPECT_EQ(watch.note(event("start", {{"job", "12"}, {"resume_step", 0}, {"steps", 300}})), "job 12 trains");
  EXPECT_EQ(watch.note(event("step", {{"step", 40}, {"loss", 2.5}})), std::nullopt);
  EXPECT_EQ(watch.progress().step, 40);
  EXPECT_EQ(watch.note(event("checkpoint", {{"step", 40}})), "checkpoint at step 40");
  EXPECT_EQ(watch.note(event("checkpoint_failed", {{"step", 60}, {"why", "no room"}})), "no room");
  EXPECT_EQ(watch.note(event("peer_lost", {{"node", "node3"}, {"why", "no heartbeat for 1s"}})),
            "lost node3: no heartbeat for 1s");
  EXPECT_EQ(watch.note(event("start", {{"job", "12"}, {"resume_step", 40}})), "job 12 resumed at step 40");
  EXPECT_FALSE(watch.ended());
  watch.note(event("finish", {{"step", 300}}));
  EXPECT_EQ(watch.ended(), 0);
}

TEST(RunWatch, EndsWithAFinalErrorAndNotWithAPassingOne) {
  RunWatch watch;
  watch.note(event("error", {{"what", "worker"}}));
  EXPECT_FALSE(watch.ended());
  EXPECT_THAT(*watch.note(event("error", {{"what", "no such file"}, {"exit", 93}})),
              HasSubstr("no such file"));
  EXPECT_EQ(watch.ended(), 1);
}

TEST(RunWatch, TellsFewOfManyCheckpoints) {
  RunWatch watch;
  int told = 0;
  for (int second = 0; second < 60; ++second) {
    told +=
        watch.note({{"event", "checkpoint"}, {"t", 1000.0 + second}, {"step", second}}).has_value() ? 1 : 0;
  }
  EXPECT_EQ(told, 6);
}

TEST(RunWatch, AResubmittedRunGoesOnAfterItsError) {
  RunWatch watch;
  watch.note(event("error", {{"what", "x"}, {"exit", 93}}));
  watch.note(event("start", {{"job", "13"}, {"resume_step", 5}}));
  EXPECT_FALSE(watch.ended());
  EXPECT_EQ(watch.job(), "13");
}

}  // namespace
}  // namespace stint::reservations
