// SPDX-License-Identifier: Apache-2.0
#include "base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "base/error.h"

extern char** environ;

namespace stint {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kMaxOutput = 1 << 20;

// True: the other end was closed; false: the deadline came first.
bool collect(int descriptor, Clock::time_point deadline, std::string& output) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    pollfd entry{descriptor, POLLIN, 0};
    if (poll(&entry, 1, static_cast<int>(std::min<std::int64_t>(left, 1000))) <= 0) continue;
    char buffer[4096];
    const ssize_t n = read(descriptor, buffer, sizeof buffer);
    if (n == 0) return true;
    if (n > 0 && output.size() < kMaxOutput) output.append(buffer, static_cast<std::size_t>(n));
  }
}

// True: it has ended, and `status` says how.
bool reap(pid_t pid, Clock::time_point deadline, int& status) {
  while (true) {
    const pid_t n = waitpid(pid, &status, WNOHANG);
    if (n == pid) return true;
    if (n < 0 && errno != EINTR) fail("waitpid: {}", errno_text(errno));
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

pid_t spawn(const std::vector<std::string>& words, int output) {
  std::vector<char*> arguments;
  for (const auto& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
  pid_t pid = -1;
  const int error = posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) fail("{}: {}", words[0], errno_text(error));
  return pid;
}

}  // namespace

ProcessResult run_process(const std::vector<std::string>& words, std::chrono::milliseconds timeout) {
  int pipe[2];
  if (pipe2(pipe, O_CLOEXEC) != 0) fail("{}: pipe: {}", words[0], errno_text(errno));
  pid_t pid = -1;
  try {
    pid = spawn(words, pipe[1]);
  } catch (...) {
    close(pipe[0]);
    close(pipe[1]);
    throw;
  }
  close(pipe[1]);
  const auto deadline = Clock::now() + timeout;
  ProcessResult result;
  int status = 0;
  const bool in_time = collect(pipe[0], deadline, result.output) && reap(pid, deadline, status);
  close(pipe[0]);
  if (!in_time) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    fail("{}: did not end within {} s", words[0], std::chrono::duration<double>(timeout).count());
  }
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace stint
