// SPDX-License-Identifier: Apache-2.0
#include "reservations/lock_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "tests/unit/reservations/scratch.h"

namespace stint::reservations {
namespace {

TEST(LockFile, SecondHolderIsToldWhoTheFirstIs) {
  const Scratch scratch;
  const LockFile first(scratch.file("lock"));
  try {
    const LockFile second(scratch.file("lock"));
    ADD_FAILURE() << "two holders";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("process " + std::to_string(::getpid())));
  }
}

TEST(LockFile, IsFreeAgainWhenItsHolderIsGone) {
  const Scratch scratch;
  { const LockFile first(scratch.file("lock")); }
  EXPECT_NO_THROW(const LockFile second(scratch.file("lock")));
}

TEST(LockFile, ANewFileCanBeTakenAwayAndAnOlderOneStays) {
  const Scratch scratch;
  {
    LockFile lock(scratch.file("lock"));
    lock.remove_if_new();
    EXPECT_FALSE(std::filesystem::exists(scratch.file("lock")));
    EXPECT_NO_THROW(const LockFile next(scratch.file("lock")))
        << "a lock on a file that is gone guards nothing";
  }
  LockFile older(scratch.file("lock"));
  older.remove_if_new();
  EXPECT_TRUE(std::filesystem::exists(scratch.file("lock")));
}

TEST(LockFile, MissingFolderIsNamed) {
  EXPECT_THROW(const LockFile lock("/nonexistent/folder/lock"), Error);
}

}  // namespace
}  // namespace stint::reservations
