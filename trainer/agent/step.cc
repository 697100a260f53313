// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/step.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "trainer/agent/setup.h"

namespace stint::agent {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// srun passes a SIGTERM on within milliseconds; beyond this it waits for a node that may be gone.
constexpr milliseconds kTermGrace{300};
// Between SIGTERM and SIGKILL for the others when one child failed.
constexpr milliseconds kKillGrace{500};

sigset_t handled_signals() {
  sigset_t mask;
  sigemptyset(&mask);
  for (const int number : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&mask, number);
  return mask;
}

[[noreturn]] void become(const ChildCommand& command, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(1);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const auto& [name, value] : command.environment) setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> arguments;
  for (const auto& word : command.words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  std::fprintf(stderr, "stint: %s: %s\n", arguments[0], std::strerror(errno));
  _exit(127);
}

}  // namespace

struct StepRunner::Child {
  pid_t pid = -1;
  int pidfd = -1;
  int status = -1;  // -1: runs
};

StepRunner::StepRunner() {
  const sigset_t mask = handled_signals();
  sigprocmask(SIG_BLOCK, &mask, nullptr);
  signals_ = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals_ < 0) fail("signalfd: {}", errno_text(errno));
  loop_.add(signals_, [this] { on_signal(); });
}

StepRunner::~StepRunner() {
  close(signals_);
}

void StepRunner::on_signal() {
  signalfd_siginfo info;
  while (read(signals_, &info, sizeof info) == sizeof info) {
    if (info.ssi_signo != SIGUSR1) die();
    stop_asked_ = true;
    signal_all(SIGUSR1);
  }
}

void StepRunner::signal_all(int number) {
  for (const Child& child : children_) {
    if (child.status < 0) kill(child.pid, number);
  }
}

void StepRunner::die() {
  signal_all(SIGTERM);
  const auto deadline = Clock::now() + kTermGrace;
  while (Clock::now() < deadline && waitpid(-1, nullptr, WNOHANG) >= 0) usleep(5000);
  signal_all(SIGKILL);
  _exit(128 + SIGTERM);
}

int StepRunner::run(const std::vector<ChildCommand>& commands) {
  const pid_t parent = getpid();
  children_.clear();
  children_.reserve(commands.size());
  for (const ChildCommand& command : commands) {
    const pid_t pid = fork();
    if (pid == 0) become(command, parent);
    if (pid < 0) {
      signal_all(SIGKILL);
      fail("{}: {}", command.words.front(), errno_text(errno));
    }
    Child& child = children_.emplace_back();
    child.pid = pid;
    child.pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    if (child.pidfd < 0) {
      signal_all(SIGKILL);
      fail("pidfd_open: {}", errno_text(errno));
    }
    loop_.add(child.pidfd, [this, &child] {
      int status = 0;
      if (waitpid(child.pid, &status, WNOHANG) != child.pid) return;
      child.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      loop_.remove(child.pidfd);
      close(child.pidfd);
    });
  }
  const auto running = [](const Child& child) { return child.status < 0; };
  const auto bad = [](const Child& child) { return child.status > 0; };
  std::optional<Clock::time_point> kill_at;
  while (std::any_of(children_.begin(), children_.end(), running)) {
    loop_.turn(milliseconds(100));
    if (!kill_at && std::any_of(children_.begin(), children_.end(), bad)) {
      kill_at = Clock::now() + kKillGrace;
      signal_all(SIGTERM);
    } else if (kill_at && Clock::now() > *kill_at) {
      signal_all(SIGKILL);
    }
  }
  int worst = 0;
  for (const Child& child : children_) worst = std::max(worst, child.status);
  children_.clear();
  return worst;
}

void StepRunner::pause(milliseconds duration) {
  const auto deadline = Clock::now() + duration;
  while (Clock::now() < deadline) {
    loop_.turn(std::min(milliseconds(50), std::chrono::ceil<milliseconds>(deadline - Clock::now())));
  }
}

ChildCommand srun_command(const std::string& program, int nodes, bool binds_tasks) {
  std::vector<std::string> words{"srun", fmt::format("--nodes={}", nodes), fmt::format("--ntasks={}", nodes)};
  for (const char* word :
       {"--ntasks-per-node=1", "--overlap", "--kill-on-bad-exit=1", "--wait=0", "--mpi=none", "--input=none",
        "--quiet", "--export=ALL", "--job-name=stint-train"}) {
    words.emplace_back(word);
  }
  // srun complains about these options on a cluster without a task plugin.
  if (binds_tasks) words.insert(words.end(), {"--cpu-bind=none", "--mem-bind=none"});
  words.push_back(program);
  return {std::move(words), {}};
}

std::vector<ChildCommand> local_commands(const std::string& program, const std::string& job, int count) {
  std::vector<ChildCommand> commands;
  for (int i = 0; i < count; ++i) {
    commands.push_back({{program},
                        {{kLocalJobEnv, job},
                         {kLocalNodesEnv, std::to_string(count)},
                         {kLocalIndexEnv, std::to_string(i)}}});
  }
  return commands;
}

}  // namespace stint::agent
