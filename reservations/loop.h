// SPDX-License-Identifier: Apache-2.0
// A thread that does one thing again and again until it is told to stop. What the work throws is logged, once
// for every change of the message, and the next round comes all the same.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace stint::reservations {

class Loop {
 public:
  // `work` returns how long to wait before it is called again.
  Loop(std::string name, std::function<std::chrono::milliseconds()> work);
  ~Loop();  // stops and joins
  void request_stop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

 private:
  void run(const std::stop_token& stop);

  std::string name_;
  std::function<std::chrono::milliseconds()> work_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;
};

}  // namespace stint::reservations
