// SPDX-License-Identifier: Apache-2.0
// Runs another program to its end, with its output captured and a time-out: scontrol and the like. No shell.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

namespace stint {

struct ProcessResult {
  int status = 0;      // exit status, or 128 + the signal
  std::string output;  // standard output and error, at most 1 MiB
};

struct ProcessInput {
  std::string text;                                // of standard input
  std::map<std::string, std::string> environment;  // beside the caller's own
};

// words: the program (searched in PATH) and its arguments. It runs in a process group of its own, with no
// signal blocked and no descriptor of ours, marked or not: UCX does not mark its sockets, and as long as
// anybody holds them open no peer sees our death. Throws Error when it cannot be started or does not end in
// time; then all of the group has been killed. What it leaves in the background is not waited for.
ProcessResult run_process(const std::vector<std::string>& words, std::chrono::milliseconds timeout,
                          const ProcessInput& input = {});

}  // namespace stint
