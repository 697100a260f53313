// SPDX-License-Identifier: Apache-2.0
// Following a run that goes on elsewhere: reads its log as it grows and says what to show. No terminal, no
// clock of its own, no Slurm: the command brings those.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/run_directory.h"

namespace stint::reservations {

// The events of a log as they are appended. A torn line waits for its end; a damaged one is passed over; a
// log that does not exist yet has no events.
class LogFollower {
 public:
  explicit LogFollower(RunDirectory run) : run_(std::move(run)) {}
  std::vector<nlohmann::json> next();

 private:
  RunDirectory run_;
  std::uint64_t offset_ = 0;
  std::string rest_;  // of a line that is not whole yet
};

// What a watcher tells: lines above the bar, and how it ends.
class RunWatch {
 public:
  // Takes an event; returns the line that tells it, or none: steps only move the bar, and of checkpoints one
  // each ten seconds of the run is told.
  std::optional<std::string> note(const nlohmann::json& event);

  const Progress& progress() const { return meter_.progress(); }
  bool started() const { return started_; }
  // 0: finished; 1: it will not go on; none: it goes on.
  std::optional<int> ended() const { return ended_; }
  const std::string& job() const { return job_; }  // the newest one

 private:
  std::optional<std::string> tell_checkpoint(const nlohmann::json& event);

  ProgressMeter meter_;
  bool started_ = false;
  std::optional<int> ended_;
  std::optional<double> checkpoint_told_;  // its time
  std::string job_;
};

}  // namespace stint::reservations
