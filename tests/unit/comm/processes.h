// SPDX-License-Identifier: Apache-2.0
// Ranks as processes: starts comm_rank once a rank, reads what they print, and leaves none behind.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace stint::comm {

class Ranks {
 public:
  struct Options {
    std::vector<std::string> environment;          // NAME=value, on top of ours
    std::vector<std::vector<std::string>> prefix;  // words before the command, by rank; may be empty
    std::chrono::milliseconds timeout{20'000};     // of each collective
  };
  Ranks(const std::string& scenario, int size, const Options& options);
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;
  ~Ranks();  // kills what still runs

  void signal(int rank, int number) const;
  // True once each rank has printed a line that begins so; false when that did not come in time.
  bool await_all(const std::string& beginning, std::chrono::milliseconds limit);
  // Waits for the end of a rank; its exit status, or 128 + signal, or -1 if it did not end in time.
  int await_end(int rank, std::chrono::milliseconds limit);
  // The words of the first line that begins with `word`; empty: there is none.
  std::vector<std::string> line(int rank, const std::string& word);

 private:
  struct Process {
    pid_t id = -1;
    int output = -1;
    std::string text;
    int status = -1;
  };
  void start(const std::string& scenario, int rank, int size, const Options& options);
  static void read_more(Process& process);

  std::filesystem::path folder_;
  std::vector<Process> processes_;
};

}  // namespace stint::comm
