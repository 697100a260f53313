// SPDX-License-Identifier: Apache-2.0
// How far a run is, from its log's events, as a line for a log or a bar for a terminal. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace stint {

struct Progress {
  std::int64_t step = 0;
  std::int64_t steps = 0;  // 0: not known
  std::optional<double> loss{};
  std::optional<double> tokens_per_second{};
  std::optional<std::chrono::seconds> left{};
  std::optional<double> mfu{};
};

// "step 120/300  loss 2.31  14.2k tokens/s  0:21 left  MFU 41%"; what is not known is left out.
std::string progress_line(const Progress& progress);
// "[#####.....] " and the line, cut to `width` columns.
std::string progress_bar(const Progress& progress, std::size_t width);

// "0:21", "12:05", "3:04:05".
std::string format_clock(std::chrono::seconds duration);
// Three digits: "950", "14.2k", "1.05M".
std::string format_rate(double rate);

// Turns events into progress. The time left is the steps left times the median time of recent steps.
class ProgressMeter {
 public:
  void note(const nlohmann::json& event);
  const Progress& progress() const { return progress_; }

 private:
  void note_step(const nlohmann::json& event);

  Progress progress_;
  std::deque<double> recent_;  // seconds a step
};

double median(std::vector<double> values);  // 0 for none

}  // namespace stint
