// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/shared_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stint::comm {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr std::size_t kMiB = 1 << 20;

TEST(SharedFolder, TooSmallForUcxIsToldWithBothRemedies) {
  EXPECT_EQ(shared_folder_problem(8, 64 * kMiB, "all"), "");
  EXPECT_THAT(
      shared_folder_problem(8, 10 * kMiB, "all"),
      AllOf(HasSubstr("/dev/shm has 10.0 MiB left, UCX takes 35 MiB of it for the 8 workers of a node"),
            HasSubstr("mount -o remount,size=70m /dev/shm"), HasSubstr("--shm-size=70m"),
            HasSubstr("UCX_TLS=^posix,cma")));
  EXPECT_THAT(shared_folder_problem(1, 0, "^cma"), HasSubstr("for the 1 worker of a node"));
}

TEST(SharedFolder, MattersOnlyWhereUcxUsesIt) {
  for (const char* transports : {"^posix,cma", "tcp,self", "^sm", "sysv,tcp,self", "rc,self"})
    EXPECT_EQ(shared_folder_problem(8, 0, transports), "") << transports;
  for (const char* transports : {"all", "sm,tcp", "shm,rc", "posix,self", "^cma", "^tcp"})
    EXPECT_NE(shared_folder_problem(8, 0, transports), "") << transports;
}

}  // namespace
}  // namespace stint::comm
