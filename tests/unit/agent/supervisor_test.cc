// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/ini.h"
#include "trainer/agent/supervisor.h"

namespace stint::agent {
namespace {

using testing::Contains;
using testing::HasSubstr;

class SupervisorTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = std::filesystem::temp_directory_path() / "stint-supervisor.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    run_.root = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(run_.root); }
  RunDirectory run_;
};

TEST(RunDirectoryName, FillsInJobRecipeAndUser) {
  recipes::Recipe recipe;
  recipe.name = "tiny";
  recipe.run.directory = "stint-runs/%u/%n-%j";
  EXPECT_EQ(run_directory(recipe, "12", "ada", "/home/ada").root, "/home/ada/stint-runs/ada/tiny-12");
  recipe.run.directory = "/scratch/../fixed";
  EXPECT_EQ(run_directory(recipe, "12", "ada", "/home/ada").root, "/fixed");
}

TEST(RunDirectoryName, RefusesOtherPercents) {
  recipes::Recipe recipe;
  for (const char* pattern : {"a-%x", "a-%", "%%"}) {
    recipe.run.directory = pattern;
    EXPECT_THROW(run_directory(recipe, "12", "ada", "/"), Error) << pattern;
  }
}

TEST_F(SupervisorTest, PreparesADirectoryOnceForOneRecipe) {
  const RunDirectory run{run_.root / "a" / "b"};
  prepare_run_directory(run, "[run]\n");
  prepare_run_directory(run, "[run]\n");
  EXPECT_EQ(read_file(run.recipe(), 100), "[run]\n");
  try {
    prepare_run_directory(run, "[model]\n");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("run.directory="));
  }
  EXPECT_EQ(read_file(run.recipe(), 100), "[run]\n");
}

TEST_F(SupervisorTest, OnlyTheLastStepFinishesARun) {
  recipes::Recipe recipe;
  recipe.run.steps = 40;
  append_event(run_, "finish", {{"step", 30}});
  EXPECT_FALSE(run_is_finished(read_log(run_), recipe));
  append_event(run_, "finish", {{"step", 40}});
  EXPECT_TRUE(run_is_finished(read_log(run_), recipe));
}

TEST_F(SupervisorTest, FindsAnotherLiveJobAndForgetsDeadOnes) {
  std::filesystem::create_directories(run_.rendezvous() / "11.0.0");
  const auto alive = [](const std::string& job) { return job == "local-a.b-7"; };
  EXPECT_EQ(other_user_of(run_, "12", alive), "");
  EXPECT_FALSE(std::filesystem::exists(run_.rendezvous() / "11.0.0"));
  std::filesystem::create_directories(run_.rendezvous() / "local-a.b-7.0.2");
  EXPECT_EQ(other_user_of(run_, "12", alive), "local-a.b-7");
  EXPECT_TRUE(std::filesystem::exists(run_.rendezvous() / "local-a.b-7.0.2"));
}

TEST_F(SupervisorTest, DataThatCannotBeReadIsToldBeforeAnythingIsMade) {
  RunRequest request{"[run]\n", {}, {run_.root / "run"}, "12", 0, ""};
  request.recipe.data.sequence_length = 16;
  const auto never = [] { return std::vector<ChildCommand>{{{"false"}, {}}}; };
  const auto refused = [&] {
    try {
      supervise(request, never, [](const std::string&) { return false; });
    } catch (const FinalError& error) {
      return std::string(error.what());
    }
    return std::string("started");
  };
  request.recipe.data.path = run_.root / "none.txt";
  EXPECT_THAT(refused(), HasSubstr("none.txt: No such file or directory; data.path must"));
  request.recipe.data.path = run_.root;
  EXPECT_THAT(refused(), HasSubstr("is a folder"));
  write_file_atomically(run_.root / "short.txt", "sixteen letters.");
  request.recipe.data.path = run_.root / "short.txt";
  EXPECT_THAT(refused(), HasSubstr("has 16 bytes; data.sequence_length = 16 needs at least 17"));
  EXPECT_FALSE(std::filesystem::exists(request.run.root));
}

TEST_F(SupervisorTest, DirectoryThatTakesTwoLinesIsRefusedBeforeItIsMade) {
  for (const char* name : {"two\nlines", "tab\tbed", "next\xC2\x85line"}) {
    const RunDirectory run{run_.root / name};
    EXPECT_THAT([&] { prepare_run_directory(run, "[run]\n"); },
                testing::ThrowsMessage<Error>(testing::AllOf(HasSubstr("control character or line break"),
                                                             HasSubstr("run.directory="),
                                                             testing::Not(HasSubstr("\n")))));
    EXPECT_FALSE(std::filesystem::exists(run.root));
  }
}

TEST_F(SupervisorTest, RendezvousThatIsNoFolderIsRefusedOnce) {
  write_file_atomically(run_.rendezvous(), "");
  EXPECT_THROW(prepare_run_directory(run_, "[run]\n"), Error);
}

TEST(Step, SrunStartsOneAgentANodeAndEndsThemTogether) {
  const ChildCommand command = srun_command("/opt/stint-train", 4, true);
  EXPECT_EQ(command.words.front(), "srun");
  EXPECT_EQ(command.words.back(), "/opt/stint-train");
  for (const char* word : {"--nodes=4", "--ntasks-per-node=1", "--kill-on-bad-exit=1", "--export=ALL"}) {
    EXPECT_THAT(command.words, Contains(word));
  }
  EXPECT_THAT(command.words, Contains("--cpu-bind=none"));
  EXPECT_THAT(srun_command("/opt/stint-train", 4, false).words, testing::Not(Contains("--cpu-bind=none")));
}

TEST(Step, TakesTheHighestExitCode) {
  StepRunner runner;
  EXPECT_EQ(runner.run({{{"true"}, {}}, {{"true"}, {}}}), 0);
  EXPECT_EQ(runner.run({{{"sh", "-c", "exit 3"}, {}}}), 3);
}

TEST(Step, OneBadExitEndsTheOthers) {
  StepRunner runner;
  EXPECT_EQ(runner.run({{{"sh", "-c", "trap '' TERM; exec sleep 600"}, {}},
                        {{"sh", "-c", "sleep 0.5; exit 3"}, {}}}),
            128 + 9);  // the first one has set its trap by then
}

TEST(Step, VariablesReachTheChild) {
  StepRunner runner;
  EXPECT_EQ(runner.run({{{"sh", "-c", "test \"$STINT_ATTEMPT\" = 4"}, {{"STINT_ATTEMPT", "4"}}}}), 0);
}

TEST(Step, MissingProgramIsAFailure) {
  StepRunner runner;
  EXPECT_EQ(runner.run({{{"/no/such/program"}, {}}}), 127);
}

}  // namespace
}  // namespace stint::agent
