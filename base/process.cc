// SPDX-License-Identifier: Apache-2.0
#include "base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "base/error.h"

extern char** environ;

namespace stint {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kMaxOutput = 1 << 20;
constexpr std::chrono::milliseconds kLook{20};  // for the end of a program whose output stays open

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }
  void close() {
    if (number_ >= 0) ::close(number_);
    number_ = -1;
  }

 private:
  int number_;
};

// In memory, so that a program that reads nothing blocks nobody.
int file_with(const std::string& text) {
  const int file = memfd_create("stdin", MFD_CLOEXEC);
  if (file < 0) fail("memfd_create: {}", errno_text(errno));
  for (std::string_view rest = text; !rest.empty();) {
    const ssize_t n = write(file, rest.data(), rest.size());
    if (n < 0) {
      const int error = errno;
      ::close(file);
      fail("standard input: {}", errno_text(error));
    }
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
  lseek(file, 0, SEEK_SET);
  return file;
}

std::vector<std::string> environment_with(const std::map<std::string, std::string>& more) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!more.contains(std::string(text.substr(0, text.find('='))))) all.emplace_back(text);
  }
  for (const auto& [name, value] : more) all.push_back(name + "=" + value);
  return all;
}

std::vector<char*> pointers_to(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const auto& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

pid_t spawn(const std::vector<std::string>& words, int input, int output,
            const std::vector<std::string>& environment) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
  posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t signals;
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(&attributes, &signals);
  sigaddset(&signals, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &signals);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  pid_t pid = -1;
  const auto arguments = pointers_to(words);
  const int error = posix_spawnp(&pid, arguments[0], &actions, &attributes, arguments.data(),
                                 pointers_to(environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) fail("{}: {}", words[0], errno_text(error));
  return pid;
}

// False: nothing more will come.
bool read_some(int descriptor, std::string& output) {
  char buffer[4096];
  const ssize_t n = read(descriptor, buffer, sizeof buffer);
  if (n > 0 && output.size() < kMaxOutput) output.append(buffer, static_cast<std::size_t>(n));
  return n > 0 || (n < 0 && errno == EINTR);
}

bool has_output(int descriptor, std::chrono::milliseconds wait) {
  pollfd entry{descriptor, POLLIN, 0};
  return poll(&entry, 1, static_cast<int>(wait.count())) > 0;
}

bool ended(pid_t pid, int& status) {
  const pid_t n = waitpid(pid, &status, WNOHANG);
  if (n < 0 && errno != EINTR) fail("waitpid: {}", errno_text(errno));
  return n == pid;
}

// True: it has ended, and `status` says how; false: the deadline came first.
bool follow(pid_t pid, int output, Clock::time_point deadline, std::string& text, int& status) {
  for (bool open = true; Clock::now() < deadline;) {
    if (open && has_output(output, kLook)) {
      open = read_some(output, text);
      continue;
    }
    if (ended(pid, status)) {
      while (open && Clock::now() < deadline && has_output(output, {})) open = read_some(output, text);
      return true;
    }
    if (!open) poll(nullptr, 0, 2);
  }
  return false;
}

}  // namespace

ProcessResult run_process(const std::vector<std::string>& words, std::chrono::milliseconds timeout,
                          const ProcessInput& input) {
  int pipe[2];
  if (pipe2(pipe, O_CLOEXEC) != 0) fail("{}: pipe: {}", words[0], errno_text(errno));
  const Descriptor output(pipe[0]);
  Descriptor theirs(pipe[1]);
  const Descriptor given(input.text.empty() ? open("/dev/null", O_RDONLY | O_CLOEXEC)
                                            : file_with(input.text));
  const auto deadline = Clock::now() + timeout;
  const pid_t pid = spawn(words, given.number(), theirs.number(), environment_with(input.environment));
  theirs.close();
  ProcessResult result;
  int status = 0;
  if (!follow(pid, output.number(), deadline, result.output, status)) {
    kill(-pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    fail("{}: did not end within {} s", words[0], std::chrono::duration<double>(timeout).count());
  }
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace stint
