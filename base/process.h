// SPDX-License-Identifier: Apache-2.0
// Runs another program to its end, with its output captured and a time-out: scontrol and the like. No shell.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace stint {

struct ProcessResult {
  int status = 0;      // exit status, or 128 + the signal
  std::string output;  // standard output and error, at most 1 MiB
};

// words: the program (searched in PATH) and its arguments. Throws Error when it cannot be started or does not
// end in time; then it has been killed.
ProcessResult run_process(const std::vector<std::string>& words, std::chrono::milliseconds timeout);

}  // namespace stint
