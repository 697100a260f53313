// SPDX-License-Identifier: Apache-2.0
// `stint run profile`: asks the ranks of a run that goes on for a profile of their next steps and makes one
// Chrome trace of their parts. Knows the run directory alone; what it must ask of Slurm the caller brings.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/run_directory.h"

namespace stint::reservations {

struct ProfileOptions {
  std::int64_t steps = 0;
  std::filesystem::path output;
  // Until the request is taken; then until all have answered; for late answers after the run has ended or
  // begun anew; between two looks.
  std::chrono::milliseconds take{20'000}, answer{600'000}, last_words{5'000}, look{200};
};

struct ProfileSummary {
  std::int64_t first_step = 0, steps = 0, ranks = 0;
  double clock_error_us = 0;  // of the worst rank
};

// Throws Error that says what to do: not the caller's run, not training now, no number of steps, a file that
// cannot be written, ranks that did not answer, each by its number and node. `job_is_over`: of the job that
// trains it, by its name in the log. `taken` is called when the ranks begin.
ProfileSummary profile_run(const RunDirectory& run, const ProfileOptions& options,
                           const std::function<bool(const std::string&)>& job_is_over,
                           const std::function<void(std::int64_t ranks)>& taken);

// The nodes by rank, from a start event.
std::vector<std::string> nodes_by_rank(const nlohmann::json& start);
// As https://ui.perfetto.dev and chrome://tracing read it: a process a rank, a thread for what it computes
// and one for what it communicates. Times are those of rank 0's clock.
nlohmann::json chrome_trace(const std::vector<nlohmann::json>& parts, const std::vector<std::string>& nodes);

}  // namespace stint::reservations
