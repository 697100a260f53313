// SPDX-License-Identifier: Apache-2.0
// The end of a plan's segment as a run meets it: how long before it to save, and what follows. Pure values;
// segment_watch asks stintd, the supervisor acts.
#pragma once

#include <chrono>
#include <deque>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/run_directory.h"

namespace stint::agent {

// Exit code of stint-train: the plan's last segment ends, the run is saved and not finished. Not requeued.
inline constexpr int kExitPlanOver = 76;

// Until when the job may run, as stintd says (GET /v1/jobs/ID/window).
struct JobWindow {
  std::string plan;
  int segment = 0;
  std::chrono::sys_seconds ends{};
  std::string next;  // the reservation to go on in; empty: none, the plan is over then
  std::optional<std::chrono::sys_seconds> next_start;
  bool next_is_known = true;  // false: Slurm alone was asked
};
JobWindow parse_window(const nlohmann::json& json);  // throws Error

// The log's event of an end that a start of a job (its id and restart count) made for, and back.
nlohmann::json to_event(const JobWindow& window, const std::string& job, int restart, std::int64_t step);
// What to say of it: "segment 0 of plan sft ends …; goes on …".
std::string describe(const JobWindow& window);
// Of the newest start in the log; none: it was not a segment's end that stopped it.
std::optional<JobWindow> closing_window(const RunLog& log, const std::string& job, int restart);

// How long before the end a run must be told to stop: one save as long as the longest of late, times a safety
// factor, between a floor and a ceiling; and two steps, as a stop is seen at the next step's begin and acted
// on at its end.
class EndLead {
 public:
  struct Limits {
    std::chrono::milliseconds min{}, max{};
    double safety = 1;
  };
  explicit EndLead(Limits limits) : limits_(limits) {}

  // A message of the worker of rank 0, or an event of the log: ready, step, checkpoint; others are passed
  // over.
  void note(const std::string& type, const nlohmann::json& fields);
  std::chrono::milliseconds lead() const;

 private:
  double save_seconds() const;

  Limits limits_;
  std::deque<double> saves_, steps_;  // the newest few, in seconds
  double parameters_ = 0;
};

}  // namespace stint::agent
