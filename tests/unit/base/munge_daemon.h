// SPDX-License-Identifier: Apache-2.0
// A munged of the test's own: its key, socket and files in a temporary folder, as the current user.
#pragma once

#include <sys/types.h>

#include <string>

#include "tests/unit/base/temporary.h"

namespace stint {

class MungeDaemon {
 public:
  MungeDaemon();   // throws Error when it does not answer within 10 s
  ~MungeDaemon();  // ends it
  MungeDaemon(const MungeDaemon&) = delete;
  MungeDaemon& operator=(const MungeDaemon&) = delete;

  std::string socket() const { return folder_ / "socket"; }

 private:
  TemporaryFolder folder_;
  pid_t process_ = -1;
};

}  // namespace stint
