// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "base/error.h"
#include "base/process.h"

namespace stint {
namespace {

using namespace std::chrono_literals;

TEST(Process, GivesOutputAndExitStatus) {
  const auto result = run_process({"sh", "-c", "echo out; echo err >&2; exit 3"}, 30s);
  EXPECT_EQ(result.status, 3);
  EXPECT_EQ(result.output, "out\nerr\n");
}

TEST(Process, PassesWordsUntouched) {
  EXPECT_EQ(run_process({"printf", "%s", "$HOME *"}, 30s).output, "$HOME *");
}

TEST(Process, SaysWhichSignalEndedIt) {
  EXPECT_EQ(run_process({"sh", "-c", "kill -9 $$"}, 30s).status, 128 + 9);
}

TEST(Process, NamesAProgramThatDoesNotExist) {
  try {
    run_process({"no-such-program"}, 30s);
    FAIL() << "ran";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("no-such-program: No such file"));
  }
}

TEST(Process, EndsWhatTakesTooLong) {
  EXPECT_THROW(run_process({"sleep", "600"}, 50ms), Error);
  EXPECT_THROW(run_process({"sh", "-c", "exec sleep 600 >/dev/null 2>&1"}, 50ms), Error);
}

TEST(Process, GivesStandardInputAlsoToThoseThatDoNotReadIt) {
  const std::string text(300'000, 'x');
  EXPECT_EQ(run_process({"wc", "-c"}, 30s, {text, {}}).output, "300000\n");
  EXPECT_EQ(run_process({"true"}, 30s, {text, {}}).status, 0);
  EXPECT_EQ(run_process({"cat"}, 30s).output, "");
}

TEST(Process, AddsToTheEnvironment) {
  const auto result =
      run_process({"sh", "-c", "printf %s \"$PATH|$STINT_X\""}, 30s, {"", {{"STINT_X", "a\nb"}}});
  EXPECT_EQ(result.output, std::string(std::getenv("PATH")) + "|a\nb");
  EXPECT_EQ(run_process({"sh", "-c", "echo $HOME"}, 30s, {"", {{"HOME", "/there"}}}).output, "/there\n");
}

TEST(Process, WaitsForTheProgramAndNotForWhatItLeavesInTheBackground) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(run_process({"sh", "-c", "sleep 5 & echo done"}, 30s).output, "done\n");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 4s);
}

TEST(Process, BlocksNoSignalOfTheProgram) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  const auto result = run_process({"sh", "-c", "kill -TERM $$; sleep 5"}, 30s);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  EXPECT_EQ(result.status, 128 + 15);
}

TEST(Process, HandsNoDescriptorOn) {
  const int unmarked = dup(STDERR_FILENO);
  const std::string open = run_process({"sh", "-c", "ls /proc/$$/fd"}, 30s).output;
  close(unmarked);
  EXPECT_EQ(open, "0\n1\n2\n");
}

TEST(Process, CutsHugeOutput) {
  const auto result = run_process({"head", "-c", "3000000", "/dev/zero"}, 30s);
  EXPECT_EQ(result.status, 0);
  EXPECT_LE(result.output.size(), (1U << 20) + 4096U);
}

}  // namespace
}  // namespace stint
