// SPDX-License-Identifier: Apache-2.0
#include "base/run_directory.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>
#include <limits>
#include <thread>

#include "base/final_error.h"
#include "tests/unit/base/temporary.h"

namespace stint {
namespace {

using nlohmann::json;

class RunLogFile : public testing::Test {
 protected:
  TemporaryFolder folder_;
  RunDirectory run_{folder_.path()};
};

TEST_F(RunLogFile, EventsComeBackInOrder) {
  EXPECT_TRUE(read_log(run_).events.empty());
  append_event(run_, "start", {{"world", 4}});
  append_event(run_, "step", {{"step", 1}, {"loss", 5.5}});
  const RunLog log = read_log(run_);
  ASSERT_EQ(log.events.size(), 2U);
  EXPECT_EQ(log.events[0]["event"], "start");
  EXPECT_EQ(log.events[1]["loss"], 5.5);
  EXPECT_NEAR(log.events[1]["t"].get<double>(), unix_seconds(), 60);
  EXPECT_EQ(log.damaged, 0U);
}

TEST_F(RunLogFile, WhatIsNoFileIsRefusedAndNotWaitedFor) {
  ASSERT_EQ(::mkfifo(run_.log().c_str(), 0600), 0);
  EXPECT_EQ(error_of([&] { read_log(run_); }), run_.log().string() + ": is no regular file");
  std::filesystem::remove(run_.log());
  std::filesystem::create_directory(run_.log());
  EXPECT_EQ(error_of([&] { read_log(run_); }), run_.log().string() + ": is no regular file");
}

TEST_F(RunLogFile, NoRoomIsFinalAndNamesTheFile) {
  std::filesystem::create_symlink("/dev/full", run_.log());
  EXPECT_THAT(
      [&] {
        append_event(run_, "step", {{"step", 1}});
      },
      testing::ThrowsMessage<FinalError>(run_.log().string() +
                                         ": cannot be written: No space left on device; free space there "
                                         "or choose another run.directory"));
}

TEST_F(RunLogFile, TornLineIsCountedAndDoesNotSpoilTheNext) {
  append_event(run_, "one", {});
  std::ofstream(run_.log(), std::ios::app) << R"({"t": 1, "event": "tor)";
  EXPECT_EQ(read_log(run_).damaged, 1U);
  append_event(run_, "two", {});
  const RunLog log = read_log(run_);
  ASSERT_EQ(log.events.size(), 2U);
  EXPECT_EQ(log.events[1]["event"], "two");
  EXPECT_EQ(log.damaged, 1U);
}

TEST_F(RunLogFile, ForeignLinesAreCounted) {
  std::ofstream(run_.log())
      << "hello\n[1]\n{\"event\":3,\"t\":1}\n{\"event\":\"x\"}\n\x01\xFF\n\n{\"t\":1,\"event\":\"ok\"}\n";
  const RunLog log = read_log(run_);
  EXPECT_EQ(log.events.size(), 1U);
  EXPECT_EQ(log.damaged, 5U);
}

TEST_F(RunLogFile, OddValuesStillGiveALine) {
  append_event(run_, "step", {{"loss", std::numeric_limits<double>::quiet_NaN()}, {"why", "\xFF bad"}});
  const RunLog log = read_log(run_);
  ASSERT_EQ(log.events.size(), 1U);
  EXPECT_TRUE(log.events[0]["loss"].is_null());
}

TEST_F(RunLogFile, WritersOnOneMachineDoNotMixLines) {
  std::vector<std::thread> writers;
  for (int writer = 0; writer < 4; ++writer) {
    writers.emplace_back([&, writer] {
      for (int i = 0; i < 200; ++i)
        append_event(run_, "step", {{"writer", writer}, {"pad", std::string(300, 'x')}});
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(read_log(run_).events.size(), 800U);
  EXPECT_EQ(read_log(run_).damaged, 0U);
}

TEST_F(RunLogFile, MissingFolderIsNamed) {
  const RunDirectory gone{folder_.path() / "gone"};
  EXPECT_EQ(error_of([&] { append_event(gone, "x", {}); }),
            gone.log().string() + ": cannot be opened: No such file or directory");
}

}  // namespace
}  // namespace stint
