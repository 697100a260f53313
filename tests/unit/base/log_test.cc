// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "tests/unit/base/temporary.h"

namespace stint {
namespace {

TEST(Log, LinesCarryTimeProgramAndLevelAndGoToStderr) {
  testing::internal::CaptureStderr();
  start_logging("stintd", "info");
  spdlog::info("plan {} booked", "demo");
  spdlog::debug("hidden");
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::MatchesRegex("20[0-9-]+T[0-9:]+\\.[0-9][0-9][0-9] stintd info: plan demo booked\n"));
}

TEST(Log, UnknownLevelIsRefused) {
  EXPECT_EQ(error_of([] { start_logging("x", "loud"); }),
            "log level 'loud' is none of trace, debug, info, warn, error");
}

}  // namespace
}  // namespace stint
