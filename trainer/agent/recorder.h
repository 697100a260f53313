// SPDX-License-Identifier: Apache-2.0
// What the worker of logical rank 0 reports becomes the run's log, and progress on standard output: a bar on
// a terminal, else a line now and then. Its agent alone has one. One thread.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/progress.h"
#include "base/run_directory.h"

namespace stint::agent {

class Recorder {
 public:
  // start: the fields of the start event but resume_step.
  Recorder(RunDirectory run, nlohmann::json start);

  // A message of the worker; other types than ready, step, overflow, checkpoint and finish are passed over.
  void note(const nlohmann::json& message);
  std::int64_t step() const { return meter_.progress().step; }
  bool finished() const { return finished_; }

 private:
  using Clock = std::chrono::steady_clock;
  void record(const std::string& event, const nlohmann::json& fields);
  void show(bool at_once);
  void say(const std::string& text);

  RunDirectory run_;
  nlohmann::json start_;
  ProgressMeter meter_;
  bool terminal_;
  bool bar_shown_ = false;
  bool finished_ = false;
  Clock::time_point began_;
  Clock::time_point shown_{};
  Clock::time_point checkpoint_told_{};
};

}  // namespace stint::agent
