// SPDX-License-Identifier: Apache-2.0
#include "reservations/loop.h"

#include <exception>

#include "base/log.h"

namespace stint::reservations {
namespace {

constexpr std::chrono::milliseconds kAfterError{1000};

}  // namespace

Loop::Loop(std::string name, std::function<std::chrono::milliseconds()> work)
    : name_(std::move(name)),
      work_(std::move(work)),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

Loop::~Loop() {
  request_stop();
}

void Loop::request_stop() {
  thread_.request_stop();
  wake_.notify_all();
}

void Loop::run(const std::stop_token& stop) {
  std::string last_error;
  while (!stop.stop_requested()) {
    auto pause = kAfterError;
    try {
      pause = work_();
      if (!last_error.empty()) spdlog::info("{}: works again", name_);
      last_error.clear();
    } catch (const std::exception& error) {
      if (last_error != error.what()) spdlog::error("{}: {}", name_, error.what());
      last_error = error.what();
    }
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, stop, pause, [] { return false; });
  }
}

}  // namespace stint::reservations
