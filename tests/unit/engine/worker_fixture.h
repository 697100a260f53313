// SPDX-License-Identifier: Apache-2.0
// The real program, with this test in the place of its agent, over UCX.
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/ini.h"
#include "trainer/agent/node_memory.h"
#include "trainer/agent/protocol.h"
#include "trainer/descriptor.h"
#include "world.h"

extern char** environ;

namespace stint::engine {

using agent::Channel;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

inline constexpr std::chrono::seconds kLong{90};

class Worker {
 public:
  Worker(const RunDirectory& run, const std::vector<std::string>& settings = {}, int memory = -1,
         const char* flag = nullptr) {
    auto [ours, theirs] = Channel::make_pair();
    channel_ = std::make_unique<Channel>(std::move(ours));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    // From high numbers, so that neither lies where the other is to be.
    const Descriptor channel(fcntl(theirs.descriptor(), F_DUPFD_CLOEXEC, 10));
    const Descriptor shared(fcntl(memory, F_DUPFD_CLOEXEC, 10));
    posix_spawn_file_actions_adddup2(&actions, channel.get(), agent::kWorkerChannel);
    if (memory >= 0) posix_spawn_file_actions_adddup2(&actions, shared.get(), agent::kWorkerMemory);
    const std::string recipe = run.recipe().string(), root = run.root.string();
    const char* arguments[] = {"stint-worker", "--recipe", recipe.c_str(), "--run-directory",
                               root.c_str(),   flag,       nullptr};
    std::vector<char*> environment;
    for (const auto& setting : settings) environment.push_back(const_cast<char*>(setting.c_str()));
    for (char** entry = environ; *entry != nullptr; ++entry) environment.push_back(*entry);
    environment.push_back(nullptr);
    const int error = posix_spawn(&pid_, STINT_WORKER, &actions, nullptr, const_cast<char**>(arguments),
                                  environment.data());
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) fail("cannot start {}: {}", STINT_WORKER, errno_text(error));
  }
  ~Worker() {
    if (pid_ < 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // As /proc tells: bit n-1 is signal n.
  std::uint64_t caught_signals() const {
    std::ifstream status(fmt::format("/proc/{}/status", pid_));
    for (std::string word; status >> word;)
      if (word == "SigCgt:" && status >> word) return std::stoull(word, nullptr, 16);
    fail("stint-worker is gone");
  }
  void send(const json& message) { channel_->send(message); }
  void close_channel() { channel_.reset(); }
  // Dead and reaped: a zombie still counts as alive for those who look.
  void kill_now() {
    kill(pid_, SIGKILL);
    waitpid(std::exchange(pid_, -1), nullptr, 0);
  }

  // The next message of this type; others are kept for later calls of seen().
  json expect(const std::string& type) {
    const auto deadline = Clock::now() + kLong;
    while (Clock::now() < deadline) {
      auto received = channel_->receive(std::chrono::milliseconds(200));
      if (received.closed) break;
      if (!received.message) continue;
      seen_.push_back(*received.message);
      if (seen_.back().at("type") == type) return seen_.back();
    }
    fail("no message '{}' came; so far {}", type, json(seen_).dump());
  }
  // Reads to the end and returns the exit status, or 128 + signal.
  int finish() {
    const auto deadline = Clock::now() + kLong;
    while (channel_ && Clock::now() < deadline) {
      auto received = channel_->receive(std::chrono::milliseconds(200));
      if (received.message) seen_.push_back(*received.message);
      if (received.closed) break;
    }
    if (pid_ < 0) return 128 + SIGKILL;
    int status = 0;
    while (waitpid(pid_, &status, WNOHANG) == 0) {
      if (Clock::now() > deadline) fail("stint-worker does not end");
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  std::vector<json> seen(const std::string& type) const {
    std::vector<json> result;
    for (const auto& message : seen_)
      if (message.at("type") == type) result.push_back(message);
    return result;
  }

 private:
  std::unique_ptr<Channel> channel_;
  pid_t pid_ = -1;
  std::vector<json> seen_;
};

class World {
 public:
  // Each worker on a node of its own, as far as it knows.
  World(const RunDirectory& run, int size) : World(run, size, 1) {}
  // `places` share a node, and its memory.
  World(const RunDirectory& run, int size, int places, std::uint32_t epoch = 1, bool alone = false,
        const std::vector<std::string>& settings = {}) {
    std::vector<std::unique_ptr<agent::NodeMemory>> memories;
    std::vector<int> nodes;
    for (int i = 0; i < size; ++i) {
      if (i % places == 0) memories.push_back(std::make_unique<agent::NodeMemory>(places));
      nodes.push_back(i / places);
      workers_.push_back(std::make_unique<Worker>(run, settings, memories.back()->descriptor(),
                                                  alone ? "--alone" : nullptr));
    }
    json addresses = json::array();
    std::size_t shared_bytes = 0;
    for (auto& worker : workers_) {
      const json address = worker->expect("address");
      addresses.push_back(address.at("address"));
      shared_bytes = address.at("shared_bytes");
    }
    for (auto& memory : memories) memory->lay_out(epoch, shared_bytes);
    for (int rank = 0; rank < size; ++rank)
      (*this)[rank].send({{"type", "view"},
                          {"epoch", epoch},
                          {"rank", rank},
                          {"size", size},
                          {"addresses", addresses},
                          {"nodes", nodes},
                          {"shared_memory", places > 1}});
  }
  Worker& operator[](int rank) { return *workers_.at(static_cast<std::size_t>(rank)); }
  std::vector<int> finish() {
    std::vector<int> codes;
    for (auto& worker : workers_) codes.push_back(worker->finish());
    return codes;
  }

 private:
  std::vector<std::unique_ptr<Worker>> workers_;
};

struct Fixture {
  TemporaryFolder folder;
  recipes::Recipe recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  RunDirectory run = folder.run();

  void freeze() { write_text(run.recipe(), recipes::freeze(recipe)); }
  json manifest(const std::string& step) const {
    return json::parse(read_file((run.checkpoints() / ("step-" + step) / "manifest.json").string(), 1 << 20));
  }
};

}  // namespace stint::engine
