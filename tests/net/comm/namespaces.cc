// SPDX-License-Identifier: Apache-2.0
#include "tests/net/comm/namespaces.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace stint::comm {
namespace {

// /sys shows the devices of the namespace that mounted it; UCX looks there.
int enter_new_namespace() {
  if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) return errno;
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return errno;
  if (mount("sysfs", "/sys", "sysfs", 0, nullptr) != 0) return errno;
  return 0;
}

pid_t hold_namespace() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("cannot make a pipe");
  const pid_t holder = fork();
  if (holder == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int error = enter_new_namespace();
    if (write(ends[1], &error, sizeof error) != sizeof error || error != 0) _exit(1);
    for (;;) pause();
  }
  close(ends[1]);
  int error = EIO;
  const bool told = holder > 0 && read(ends[0], &error, sizeof error) == sizeof error;
  close(ends[0]);
  if (told && error == 0) return holder;
  if (holder > 0) waitpid(holder, nullptr, 0);
  throw std::runtime_error(std::string("cannot make a network namespace: ") + std::strerror(error) +
                           "; this test needs root");
}

void release(pid_t holder) {
  if (holder <= 0) return;
  kill(holder, SIGKILL);
  waitpid(holder, nullptr, 0);
}

void run_in(pid_t holder, const std::string& command) {
  const std::string line = "nsenter --target " + std::to_string(holder) + " --net --mount " + command;
  if (std::system(line.c_str()) != 0) throw std::runtime_error("failed: " + line);
}

std::string port(int node) {
  return "port" + std::to_string(node);
}

}  // namespace

Nodes::Nodes(int count) {
  try {
    switch_ = hold_namespace();
    run_in(switch_, "ip link add bridge type bridge");
    run_in(switch_, "ip link set bridge up");
    for (int node = 0; node < count; ++node) {
      nodes_.push_back(hold_namespace());
      cable(node);
    }
  } catch (...) {
    for (const pid_t holder : nodes_) release(holder);
    release(switch_);
    throw;
  }
}

void Nodes::cable(int node) const {
  const pid_t holder = nodes_[static_cast<std::size_t>(node)];
  run_in(switch_, "ip link add " + port(node) + " type veth peer name net0 netns " + std::to_string(holder));
  run_in(switch_, "ip link set " + port(node) + " master bridge up");
  run_in(holder, "ip link set lo up");
  run_in(holder, "ip address add 10.77.0." + std::to_string(node + 1) + "/24 dev net0");
  run_in(holder, "ip link set net0 up");
}

Nodes::~Nodes() {
  for (const pid_t holder : nodes_) release(holder);
  release(switch_);
}

std::vector<std::string> Nodes::prefix(int node) const {
  return {"nsenter", "--target", std::to_string(nodes_.at(static_cast<std::size_t>(node))), "--net",
          "--mount"};
}

void Nodes::pull_at_node(int node) const {
  run_in(nodes_.at(static_cast<std::size_t>(node)), "ip link set net0 down");
}

void Nodes::pull_at_switch(int node) const {
  run_in(switch_, "ip link set " + port(node) + " down");
}

}  // namespace stint::comm
