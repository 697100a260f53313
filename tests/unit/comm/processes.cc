// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/comm/processes.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace stint::comm {
namespace {

bool until(std::chrono::milliseconds limit, const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  for (std::string& word : words) result.push_back(word.data());
  result.push_back(nullptr);
  return result;
}

std::vector<std::string> environment_with(const std::vector<std::string>& more) {
  std::vector<std::string> all{more};
  for (char** entry = environ; *entry != nullptr; ++entry) all.emplace_back(*entry);
  return all;
}

}  // namespace

Ranks::Ranks(const std::string& scenario, int size, const Options& options) {
  std::string name = (std::filesystem::temp_directory_path() / "stint-comm-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a folder under /tmp");
  folder_ = name;
  for (int rank = 0; rank < size; ++rank) start(scenario, rank, size, options);
}

void Ranks::start(const std::string& scenario, int rank, int size, const Options& options) {
  std::vector<std::string> words;
  if (!options.prefix.empty()) words = options.prefix[static_cast<std::size_t>(rank)];
  for (const std::string& word : {std::string(COMM_RANK), scenario, folder_.string(), std::to_string(rank),
                                  std::to_string(size), std::to_string(options.timeout.count())})
    words.push_back(word);
  auto environment = environment_with(options.environment);
  const auto arguments = pointers(words), variables = pointers(environment);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("cannot make a pipe");
  const pid_t id = fork();
  if (id == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // whatever becomes of the test
    dup2(ends[1], STDOUT_FILENO);
    execvpe(arguments[0], arguments.data(), variables.data());
    _exit(127);
  }
  close(ends[1]);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  processes_.push_back({id, ends[0], {}, -1});
}

Ranks::~Ranks() {
  for (std::size_t rank = 0; rank < processes_.size(); ++rank) {
    if (processes_[rank].status < 0) {
      signal(static_cast<int>(rank), SIGKILL);
      await_end(static_cast<int>(rank), std::chrono::seconds(5));
    }
    close(processes_[rank].output);
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void Ranks::signal(int rank, int number) const {
  const Process& process = processes_.at(static_cast<std::size_t>(rank));
  if (process.id > 0 && process.status < 0) kill(process.id, number);
}

void Ranks::read_more(Process& process) {
  char buffer[4096];
  for (ssize_t got; (got = read(process.output, buffer, sizeof buffer)) > 0;)
    process.text.append(buffer, static_cast<std::size_t>(got));
}

bool Ranks::await_all(const std::string& beginning, std::chrono::milliseconds limit) {
  return until(limit, [&] {
    for (std::size_t rank = 0; rank < processes_.size(); ++rank)
      if (line(static_cast<int>(rank), beginning).empty()) return false;
    return true;
  });
}

int Ranks::await_end(int rank, std::chrono::milliseconds limit) {
  Process& process = processes_.at(static_cast<std::size_t>(rank));
  until(limit, [&] {
    int status = 0;
    if (process.status < 0 && waitpid(process.id, &status, WNOHANG) == process.id)
      process.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return process.status >= 0;
  });
  read_more(process);
  return process.status;
}

std::vector<std::string> Ranks::line(int rank, const std::string& word) {
  Process& process = processes_.at(static_cast<std::size_t>(rank));
  read_more(process);
  std::istringstream lines(process.text);
  for (std::string text; std::getline(lines, text);) {
    std::istringstream parts(text);
    std::vector<std::string> words;
    for (std::string part; parts >> part;) words.push_back(part);
    if (!words.empty() && words[0] == word) return words;
  }
  return {};
}

}  // namespace stint::comm
