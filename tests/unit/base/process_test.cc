// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(Process, CutsHugeOutput) {
  const auto result = run_process({"head", "-c", "3000000", "/dev/zero"}, 30s);
  EXPECT_EQ(result.status, 0);
  EXPECT_LE(result.output.size(), (1U << 20) + 4096U);
}

}  // namespace
}  // namespace stint
