// SPDX-License-Identifier: Apache-2.0
// Failures that another attempt would meet again: the recipe, the data, the memory or the disk must change
// first. stint-train and stint-worker end with exit code 93 on them. No threads.
#pragma once

#include "base/error.h"

namespace stint {

class FinalError : public Error {
 public:
  using Error::Error;
};

template <typename... Args>
[[noreturn]] void fail_finally(fmt::format_string<Args...> format, Args&&... args) {
  throw FinalError(fmt::format(format, std::forward<Args>(args)...));
}

// "<what>: <the text of the errno `number`>". Where the file system has no room, no quota left or takes no
// writes: a FinalError with the remedy, `instead` being what to choose otherwise. Else an Error.
[[noreturn]] void fail_write(const std::string& what, int number,
                             const char* instead = "another file system");

// What to choose in place of a run's file system.
inline constexpr char kOtherRunDirectory[] = "another run.directory";

}  // namespace stint
