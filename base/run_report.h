// SPDX-License-Identifier: Apache-2.0
// What became of a run: from its log, and from what stintd knows of its jobs and its plan. The numbers are
// computed here and nowhere else; the text is for people, the JSON for programs.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/run_directory.h"

namespace stint {

// stintd's part. `trouble` says why something is missing; the report is then made without it.
struct ServiceFacts {
  nlohmann::json job_events = nlohmann::json::array();  // GET /v1/jobs/ID/events, of all jobs of the run
  nlohmann::json plan;                                  // GET /v1/plans/NAME; null: none or not known
  std::string trouble;
};
// Asks stintd about the jobs and the plan that the log names; never throws. An empty address: the one in
// stint.conf.
ServiceFacts ask_service(const RunLog& log, const std::string& address);

struct TimelineEntry {
  double t = 0;        // Unix seconds
  std::string source;  // "run" or "stintd"
  std::string event;
  std::string text;
};

struct RunReport {
  std::string recipe;  // name
  std::string plan;
  std::vector<std::string> jobs;
  bool finished = false;
  std::int64_t step = 0;   // the last one logged
  std::int64_t steps = 0;  // of the recipe; 0: not known
  std::optional<double> first_loss, last_loss;
  double tokens_per_second = 0;  // median over steps
  double step_seconds = 0;       // median
  // Medians over steps; none: not logged.
  std::optional<double> mfu, communication_share, data_share;
  double peak_memory_bytes = 0;  // of the worker with most; 0: not logged
  int restarts = 0;              // starts after the first
  std::int64_t steps_lost = 0;   // done again: over restarts, last step before it less the step resumed from
  // Over restarts: last step before to first step after, less one median step and the time between two
  // segments.
  double seconds_lost = 0;
  double seconds = 0;       // first start to last event
  std::string price;        // "12.50 EUR", or "not known: why"
  std::string checkpoint;   // path; empty: none
  std::string tensorboard;  // path; empty: none
  std::vector<TimelineEntry> timeline;
};

RunReport make_report(const RunDirectory& run, const RunLog& log, const ServiceFacts& facts);

std::string format_report(const RunReport& report);
nlohmann::json report_json(const RunReport& report);

// Reads the log, asks stintd, writes report.txt atomically and returns the report. Throws Error.
RunReport write_report(const RunDirectory& run, const std::string& service_address);

}  // namespace stint
