// SPDX-License-Identifier: Apache-2.0
// Failures. Programs throw stint::Error with context and print it once, at the edge (main).
// What is expected to fail (a peer, a lookup) returns a value of its own room instead.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace stint {

// The text is one line in the project's form: lower case, subject first, exact cause, remedy;
// without the leading "stint: ", which the edge adds.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

// "No such file or directory" for ENOENT, and so on; thread-safe.
std::string errno_text(int number);

}  // namespace stint
