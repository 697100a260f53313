// SPDX-License-Identifier: Apache-2.0
// One attempt as child processes: srun with its tasks, or the agents themselves on one host. Passes signals
// on: SIGUSR1 to the children; SIGTERM and SIGINT end them and then this process, quickly, since Slurm's
// requeue waits for it. One thread.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "trainer/agent/event_loop.h"

namespace stint::agent {

struct ChildCommand {
  std::vector<std::string> words;  // the program (searched in PATH) and its arguments
  std::vector<std::pair<std::string, std::string>> environment;  // added to this process's own
};

class StepRunner {
 public:
  StepRunner();  // blocks SIGTERM, SIGINT and SIGUSR1; throws Error
  ~StepRunner();
  StepRunner(const StepRunner&) = delete;
  StepRunner& operator=(const StepRunner&) = delete;

  // Runs them to their end; the highest exit status, as srun has it. When one of several ends with another
  // status than 0 the rest are ended too. Throws Error when one cannot be started; then none is left.
  int run(const std::vector<ChildCommand>& commands);

  // Sleeps, but for signals.
  void pause(std::chrono::milliseconds duration);
  // SIGUSR1 came: whoever runs next is to stop.
  bool stop_asked() const { return stop_asked_; }

 private:
  struct Child;
  void on_signal();
  void signal_all(int number);
  [[noreturn]] void die();

  EventLoop loop_;
  int signals_ = -1;
  bool stop_asked_ = false;
  std::vector<Child> children_;
};

// The step of a whole allocation: one agent on each of `nodes` nodes, which binds its workers itself.
// binds_tasks: Slurm would bind the agent if it were not told otherwise.
ChildCommand srun_command(const std::string& program, int nodes, bool binds_tasks);
// `count` agents on this host.
std::vector<ChildCommand> local_commands(const std::string& program, const std::string& job, int count);

}  // namespace stint::agent
