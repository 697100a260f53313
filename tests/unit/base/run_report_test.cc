// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

#include "base/run_report.h"

namespace stint {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Json = nlohmann::json;

class RunReportTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = std::filesystem::temp_directory_path() / "stint-report.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    run_.root = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(run_.root); }

  void add(double t, const std::string& name, Json fields = Json::object()) {
    fields["t"] = t;
    fields["event"] = name;
    log_.events.push_back(std::move(fields));
  }
  void add_start(double t, int resume_step) {
    add(t, "start",
        {{"job", "12"},
         {"recipe", "tiny"},
         {"plan", "demo"},
         {"steps", 60},
         {"world", 4},
         {"resume_step", resume_step},
         {"order", {"node1", "node2"}}});
  }
  void add_step(double t, int step, double loss) {
    add(t, "step",
        {{"step", step}, {"loss", loss}, {"tokens_per_second", 1000 + step}, {"step_seconds", 0.5}});
  }
  // Steps 10 to 30, the loss of a node, and again from step 20: two logged steps' worth of work is redone.
  void add_disturbed_run() {
    add_start(100, 0);
    add_step(105, 10, 5.0);
    add_step(110, 20, 4.0);
    add(110.1, "checkpoint", {{"step", 20}});
    add_step(115, 30, 3.5);
    add(116, "peer_lost", {{"node", "node3"}, {"why", "no heartbeat for 1s"}});
    add_start(121, 20);
    add_step(122, 22, 3.9);
    add_step(140, 60, 2.0);
    add(141, "finish", {{"step", 60}});
  }
  RunReport report() const { return make_report(run_, log_, facts_); }

  RunDirectory run_;
  RunLog log_;
  ServiceFacts facts_;
};

TEST_F(RunReportTest, AccountsForARestart) {
  add_disturbed_run();
  const RunReport found = report();
  EXPECT_TRUE(found.finished);
  EXPECT_EQ(found.step, 60);
  EXPECT_EQ(found.steps, 60);
  EXPECT_EQ(found.restarts, 1);
  EXPECT_EQ(found.steps_lost, 10);
  EXPECT_DOUBLE_EQ(found.seconds_lost, 122 - 115 - 0.5);
  EXPECT_DOUBLE_EQ(found.seconds, 41);
  EXPECT_EQ(found.first_loss, 5.0);
  EXPECT_EQ(found.last_loss, 2.0);
  EXPECT_DOUBLE_EQ(found.tokens_per_second, 1022);
  EXPECT_THAT(found.jobs, ElementsAre("12"));
}

TEST_F(RunReportTest, TellsHowWellTheMachinesWereUsed) {
  add_start(100, 0);
  add_step(101, 1, 5.0);
  EXPECT_THAT(format_report(report()), HasSubstr("\nuse            not logged\n"));
  for (int i = 0; i < 3; ++i)
    add(102 + i, "step",
        {{"step", 2 + i},
         {"mfu", 0.3 + 0.1 * i},
         {"communication_share", 0.1 * i},
         {"data_share", 0.01},
         {"peak_memory_bytes", (400 + i) << 20}});
  EXPECT_THAT(
      format_report(report()),
      HasSubstr(
          "\nuse            MFU 40%, communication 10%, waiting for data 1%, 402 MiB at most a worker\n"));
  EXPECT_DOUBLE_EQ(report_json(report()).at("mfu"), 0.4);
}

TEST_F(RunReportTest, TheTimeBetweenTwoSegmentsIsNotLost) {
  add_start(100, 0);
  add_step(105, 10, 5.0);
  add(105.5, "segment_end",
      {{"step", 10}, {"ends", 115}, {"next_start", 3'600}, {"why", "segment 0 of plan demo ends"}});
  add(106, "stopping", {{"why", "segment 0 of plan demo ends"}});
  add_step(107, 11, 4.5);
  add_start(3'603, 11);
  add_step(3'605, 12, 4.0);
  const RunReport found = report();
  EXPECT_EQ(found.steps_lost, 0);
  EXPECT_DOUBLE_EQ(found.seconds_lost, (115 - 107) + (3'605 - 3'600) - 0.5);
  EXPECT_THAT(format_report(found), HasSubstr("step 10: segment 0 of plan demo ends"));
}

TEST_F(RunReportTest, TimelineMergesWhatStintdSaw) {
  add_disturbed_run();
  facts_.job_events = Json::parse(
      R"([{"t":116.5,"event":"node_down","node":"node3","detail":"slurmd does not answer"},
          {"t":118,"event":"requeued","node":"","detail":null}, "nonsense"])");
  std::vector<std::string> events;
  for (const auto& entry : report().timeline) events.push_back(entry.event);
  EXPECT_THAT(events,
              ElementsAre("start", "checkpoint", "peer_lost", "node_down", "requeued", "start", "finish"));
  const std::string text = format_report(report());
  EXPECT_THAT(text, HasSubstr("16.50  stintd  node_down      node3: slurmd does not answer"));
  EXPECT_THAT(text, HasSubstr("resumes from step 20"));
  EXPECT_THAT(text, HasSubstr("\njob            12\n"));
}

TEST_F(RunReportTest, LongRowsOfCheckpointsAreThinned) {
  add_start(0, 0);
  for (int i = 1; i <= 9; ++i) add(i, "checkpoint", {{"step", i * 10}});
  const auto timeline = report().timeline;
  ASSERT_EQ(timeline.size(), 3U);
  EXPECT_EQ(timeline[1].text, "step 10");
  EXPECT_EQ(timeline[2].text, "step 90 (7 more before it)");
}

TEST_F(RunReportTest, PriceIsThePlansOrSaysWhyNot) {
  EXPECT_EQ(report().price, "none: the run used no plan");
  add_start(0, 0);
  facts_.trouble = "stintd does not answer (connection refused)";
  EXPECT_EQ(report().price, "not known: stintd does not answer (connection refused)");
  facts_.plan = Json::parse(R"({"name":"demo","price":{"amount":"1.25","currency":"EUR","rate":"2.50"}})");
  EXPECT_EQ(report().price, "1.25 EUR");
}

TEST_F(RunReportTest, NamesTheNewestWholeCheckpointAndTheEventFile) {
  for (const char* step : {"step-00000010", "step-00000020", "step-00000030"}) {
    std::filesystem::create_directories(run_.checkpoints() / step);
  }
  for (const char* step : {"step-00000010", "step-00000020"}) {
    std::ofstream(run_.checkpoints() / step / "manifest.json") << "{}";
  }
  std::ofstream(run_.root / "events.out.tfevents.1.host") << "";
  EXPECT_EQ(report().checkpoint, run_.checkpoints() / "step-00000020");
  EXPECT_EQ(report().tensorboard, run_.root / "events.out.tfevents.1.host");
}

TEST_F(RunReportTest, AnEmptyLogIsAReportOfNothing) {
  const RunReport found = report();
  EXPECT_FALSE(found.finished);
  EXPECT_EQ(found.restarts, 0);
  EXPECT_THAT(format_report(found), HasSubstr("none logged"));
  EXPECT_TRUE(report_json(found)["last_loss"].is_null());
}

TEST_F(RunReportTest, OddFieldsDoNotStopIt) {
  add(1, "start", {{"job", 7}, {"order", "x"}, {"steps", "many"}, {"resume_step", nullptr}});
  add(2, "step", {{"step", nullptr}, {"loss", "nan"}});
  add(3, "error", {{"what", {1, 2}}});
  EXPECT_THAT(format_report(report()), HasSubstr("[1,2]"));
}

TEST_F(RunReportTest, JsonHasTheNumbers) {
  add_disturbed_run();
  const Json json = report_json(report());
  EXPECT_EQ(json["restarts"], 1);
  EXPECT_EQ(json["finished"], true);
  EXPECT_EQ(json["steps_lost"], 10);
  EXPECT_EQ(json["last_loss"], 2.0);
  EXPECT_EQ(json["timeline"].size(), 5U);
}

TEST_F(RunReportTest, WhatOthersWroteStaysOnItsLineAndPlain) {
  add(100, "start\nforged", {{"job", "12"}, {"recipe", "a"}});
  add(101, "start", {{"recipe", "tiny\x1b[2J\nsteps 1"}, {"plan", "de\nmo"}, {"job", "1\n2"}});
  add(102, "peer_lost", {{"node", "node3\x1b]0;x\a"}, {"why", "a\nb"}});
  const auto text = format_report(report());
  EXPECT_EQ(text.find('\x1b'), std::string::npos) << text;
  EXPECT_THAT(text, HasSubstr("tiny [2J steps 1: not finished"));
  EXPECT_THAT(text, HasSubstr("start forged"));
  EXPECT_THAT(text, HasSubstr("de mo"));
  EXPECT_THAT(text, HasSubstr("a b\n"));
}

}  // namespace
}  // namespace stint
