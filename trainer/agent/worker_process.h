// SPDX-License-Identifier: Apache-2.0
// One worker as a child process: fork, bind, exec, a channel at descriptor 3, memory to share at 4, and a
// pidfd that becomes readable when it ends. A worker never outlives its agent, and only its agent ends it:
// SIGTERM, SIGUSR1, SIGINT and SIGHUP, which Slurm sends to every process of a step, are ignored in it.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "trainer/agent/protocol.h"

namespace stint::agent {

struct WorkerCommand {
  std::filesystem::path program;
  std::vector<std::string> arguments;
  std::vector<std::pair<std::string, std::string>> environment;  // added to the agent's own
  std::function<int()> bind;  // called in the child before exec; 0 or an errno; may be empty
  int memory = -1;            // a descriptor for it to inherit as kWorkerMemory; -1: none
};

class WorkerProcess {
 public:
  // Throws Error that names the program and why it cannot be started. Call while there is one thread only.
  explicit WorkerProcess(const WorkerCommand& command);
  WorkerProcess(WorkerProcess&& other) noexcept;
  WorkerProcess& operator=(WorkerProcess&&) = delete;
  ~WorkerProcess();  // SIGKILL, and waits

  pid_t pid() const { return pid_; }
  int descriptor() const { return pidfd_; }
  Channel& channel() { return channel_; }

  // How it ended: the exit status, or 128 + the signal; none: it still runs.
  std::optional<int> ended();
  void kill();

 private:
  pid_t pid_ = -1;
  int pidfd_ = -1;
  Channel channel_{-1};
  std::optional<int> status_;
};

// "exit status 3", "killed by signal 9 (Killed)".
std::string describe_exit(int status);

// SIGKILL to every worker of this process; may be called from a signal handler.
void kill_all_workers() noexcept;

// The program `name` beside this one, else in PATH. Throws Error that says where it was looked for.
std::filesystem::path find_program(const std::string& name);

}  // namespace stint::agent
