// SPDX-License-Identifier: Apache-2.0
// A request that is not granted, with the HTTP status that says why.
#pragma once

#include <utility>

#include "base/error.h"

namespace stint::reservations {

class Refusal : public Error {
 public:
  Refusal(int status, const std::string& text) : Error(text), status_(status) {}
  int status() const { return status_; }

 private:
  int status_;
};

template <typename... Args>
[[noreturn]] void refuse(int status, fmt::format_string<Args...> format, Args&&... args) {
  throw Refusal(status, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace stint::reservations
