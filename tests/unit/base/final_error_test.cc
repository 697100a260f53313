// SPDX-License-Identifier: Apache-2.0
#include "base/final_error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

namespace stint {
namespace {

using testing::StrEq;
using testing::ThrowsMessage;

TEST(FinalError, NoRoomNoQuotaAndNoWritesAreFinalWithTheirRemedy) {
  EXPECT_THAT(
      [] { fail_write("cannot write /a/b", ENOSPC); },
      ThrowsMessage<FinalError>(StrEq("cannot write /a/b: No space left on device; free space there or "
                                      "choose another file system")));
  EXPECT_THAT(
      [] { fail_write("cannot write /a/b", EDQUOT, kOtherRunDirectory); },
      ThrowsMessage<FinalError>(StrEq("cannot write /a/b: Disk quota exceeded; free space there or choose "
                                      "another run.directory")));
  EXPECT_THAT(
      [] { fail_write("cannot write /a/b", EROFS); },
      ThrowsMessage<FinalError>(StrEq("cannot write /a/b: Read-only file system; have it mounted writable "
                                      "or choose another file system")));
}

TEST(FinalError, OtherTroubleMayPass) {
  try {
    fail_write("cannot write /a/b", EIO);
  } catch (const FinalError&) {
    ADD_FAILURE() << "final";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "cannot write /a/b: Input/output error");
  }
}

}  // namespace
}  // namespace stint
