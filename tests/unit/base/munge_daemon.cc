// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/base/munge_daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <random>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/http.h"
#include "base/ini.h"

namespace stint {
namespace {

std::string random_key() {
  std::random_device random;
  std::string key;
  while (key.size() < 128) key += static_cast<char>(random());
  return key;
}

pid_t start(const std::vector<std::string>& words, const std::string& output) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t process = ::fork();
  if (process != 0) return process;
  const int file = ::open(output.c_str(), O_WRONLY | O_CREAT, 0600);
  ::dup2(file, 1);
  ::dup2(file, 2);
  ::execvp(arguments[0], arguments.data());
  ::_exit(127);
}

}  // namespace

MungeDaemon::MungeDaemon() {
  using namespace std::chrono;
  write_file_atomically(folder_ / "key", random_key(), 0600);
  process_ =
      start({"/usr/sbin/munged", "--foreground", "--force", "--num-threads=1",
             "--key-file=" + (folder_ / "key"), "--socket=" + socket(), "--pid-file=" + (folder_ / "pid"),
             "--log-file=" + (folder_ / "log"), "--seed-file=" + (folder_ / "seed")},
            folder_ / "output");
  const auto deadline = steady_clock::now() + seconds(10);
  for (;;) {
    try {
      Munge(socket()).encode("x");
      return;
    } catch (const Error&) {
      if (steady_clock::now() > deadline)
        fail("munged does not start: {}", read_file(folder_ / "output", 1 << 16));
      std::this_thread::sleep_for(milliseconds(20));
    }
  }
}

MungeDaemon::~MungeDaemon() {
  ::kill(process_, SIGTERM);
  ::waitpid(process_, nullptr, 0);
}

}  // namespace stint
