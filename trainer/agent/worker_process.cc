// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/worker_process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/text.h"

namespace stint::agent {
namespace {

// Fixed slots, so that a signal handler can read them.
constexpr std::size_t kMaxWorkers = 256;
std::array<std::atomic<pid_t>, kMaxWorkers> live_workers{};
static_assert(std::atomic<pid_t>::is_always_lock_free);

bool enroll(pid_t pid) {
  for (auto& slot : live_workers) {
    pid_t empty = 0;
    if (slot.compare_exchange_strong(empty, pid)) return true;
  }
  return false;
}

void strike(pid_t pid) {
  for (auto& slot : live_workers) {
    pid_t expected = pid;
    if (slot.compare_exchange_strong(expected, 0)) return;
  }
}

void reset_signals() {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGTERM, SIGUSR1, SIGINT, SIGHUP}) signal(number, SIG_IGN);
  signal(SIGPIPE, SIG_DFL);
}

constexpr int kAboveOurs = 10;  // no descriptor from there on is in the way of those that a worker is given

// What is to lie at 3 and 4 may be there already, in the other one's place.
void take_descriptors(int channel, int memory) {
  const int high_channel = fcntl(channel, F_DUPFD_CLOEXEC, kAboveOurs);
  const int high_memory = memory < 0 ? -1 : fcntl(memory, F_DUPFD_CLOEXEC, kAboveOurs);
  dup2(high_channel, kWorkerChannel);
  if (high_memory >= 0) dup2(high_memory, kWorkerMemory);
  close_range(high_memory >= 0 ? kWorkerMemory + 1 : kWorkerChannel + 1, ~0U, CLOSE_RANGE_CLOEXEC);
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  list.reserve(texts.size() + 1);
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

// In the child; comes back only when exec failed, with errno.
void become_worker(const WorkerCommand& command, int channel, pid_t agent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != agent) _exit(1);
  if (const int error = command.bind ? command.bind() : 0; error != 0) {
    std::fprintf(stderr, "stint: worker: not bound to its cores: %s\n", strerror(error));
  }
  reset_signals();
  for (const auto& [name, value] : command.environment) setenv(name.c_str(), value.c_str(), 1);
  std::vector<std::string> words{command.program.string()};
  words.insert(words.end(), command.arguments.begin(), command.arguments.end());
  const auto arguments = pointers(words);
  take_descriptors(channel, command.memory);
  execv(command.program.c_str(), arguments.data());
}

// The child's errno over a close-on-exec pipe; 0: exec worked.
int read_exec_error(int pipe) {
  int cause = 0;
  ssize_t n;
  do {
    n = read(pipe, &cause, sizeof cause);
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(sizeof cause) ? cause : 0;
}

}  // namespace

WorkerProcess::WorkerProcess(const WorkerCommand& command) {
  auto [mine, theirs] = Channel::make_pair();
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) fail("worker: pipe: {}", errno_text(errno));
  const int report_high = fcntl(report[1], F_DUPFD_CLOEXEC, kAboveOurs);
  close(report[1]);
  const pid_t agent = getpid();
  pid_ = fork();
  if (pid_ == 0) {
    become_worker(command, theirs.descriptor(), agent);
    const int cause = errno;
    (void)!write(report_high, &cause, sizeof cause);
    _exit(127);
  }
  const int fork_error = errno;
  close(report_high);
  const int cause = pid_ < 0 ? fork_error : read_exec_error(report[0]);
  close(report[0]);
  if (pid_ > 0 && cause != 0) waitpid(pid_, nullptr, 0);
  if (cause != 0) fail("worker {}: {}", command.program.string(), errno_text(cause));
  channel_ = std::move(mine);
  pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  if (pidfd_ < 0 || !enroll(pid_)) {
    const int open_error = errno;
    ::kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    fail("worker {}: {}", command.program.string(),
         pidfd_ < 0 ? errno_text(open_error) : fmt::format("more than {} workers a node", kMaxWorkers));
  }
}

WorkerProcess::WorkerProcess(WorkerProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::exchange(other.pidfd_, -1)),
      channel_(std::move(other.channel_)),
      status_(other.status_) {}

WorkerProcess::~WorkerProcess() {
  if (pid_ <= 0) return;
  if (!ended()) {
    kill();
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    strike(pid_);
  }
  close(pidfd_);
}

std::optional<int> WorkerProcess::ended() {
  if (status_) return status_;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  strike(pid_);
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return status_;
}

void WorkerProcess::kill() {
  if (pid_ > 0 && !status_) ::kill(pid_, SIGKILL);
}

std::string describe_exit(int status) {
  if (status <= 128) return fmt::format("exit status {}", status);
  return fmt::format("killed by signal {} ({})", status - 128, strsignal(status - 128));
}

void kill_all_workers() noexcept {
  for (auto& slot : live_workers) {
    const pid_t pid = slot.load(std::memory_order_relaxed);
    if (pid > 0) ::kill(pid, SIGKILL);
  }
}

std::filesystem::path find_program(const std::string& name) {
  std::error_code error;
  const auto own = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  std::vector<std::string> folders{own.string()};
  if (const char* path = std::getenv("PATH")) {
    for (auto& folder : split(path, ':')) folders.push_back(std::move(folder));
  }
  for (const auto& folder : folders) {
    const auto candidate = std::filesystem::path(folder) / name;
    if (!folder.empty() && access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  fail("{}: not found beside stint-train ({}) nor in PATH", name, own.string());
}

}  // namespace stint::agent
