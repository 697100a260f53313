// SPDX-License-Identifier: Apache-2.0
#include "base/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace stint {
namespace {

constexpr std::size_t kRecentSteps = 32;
constexpr std::size_t kBarCells = 24;

std::optional<double> number(const nlohmann::json& event, const char* key) {
  const auto found = event.find(key);
  if (found == event.end() || !found->is_number()) return std::nullopt;
  const double value = found->get<double>();
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

}  // namespace

std::string format_clock(std::chrono::seconds duration) {
  const auto total = std::max<std::int64_t>(duration.count(), 0);
  if (total >= 3600) return fmt::format("{}:{:02}:{:02}", total / 3600, total / 60 % 60, total % 60);
  return fmt::format("{}:{:02}", total / 60, total % 60);
}

std::string format_rate(double rate) {
  constexpr std::array<const char*, 5> kUnits{"", "k", "M", "G", "T"};
  std::size_t unit = 0;
  while (rate >= 999.5 && unit + 1 < kUnits.size()) {
    rate /= 1000;
    ++unit;
  }
  const int digits = rate < 9.995 ? 2 : rate < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f}{}", rate, digits, kUnits[unit]);
}

std::string progress_line(const Progress& progress) {
  std::string line = progress.steps > 0 ? fmt::format("step {}/{}", progress.step, progress.steps)
                                        : fmt::format("step {}", progress.step);
  if (progress.loss) line += fmt::format("  loss {:.3f}", *progress.loss);
  if (progress.tokens_per_second)
    line += fmt::format("  {} tokens/s", format_rate(*progress.tokens_per_second));
  if (progress.left) line += fmt::format("  {} left", format_clock(*progress.left));
  if (progress.mfu) line += fmt::format("  MFU {:.0f}%", 100 * *progress.mfu);
  return line;
}

std::string progress_bar(const Progress& progress, std::size_t width) {
  const double share =
      progress.steps > 0 ? static_cast<double>(progress.step) / static_cast<double>(progress.steps) : 0;
  const auto full = static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * kBarCells);
  std::string text =
      fmt::format("[{:#<{}}{:.<{}}] {}", "", full, "", kBarCells - full, progress_line(progress));
  if (text.size() > width) text.resize(width);
  return text;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

void ProgressMeter::note(const nlohmann::json& event) {
  const std::string name = event.value("event", "");
  if (name == "start") {
    if (const auto steps = number(event, "steps")) progress_.steps = static_cast<std::int64_t>(*steps);
    if (const auto step = number(event, "resume_step")) progress_.step = static_cast<std::int64_t>(*step);
    progress_.left.reset();
    recent_.clear();
  } else if (name == "step") {
    note_step(event);
  }
}

void ProgressMeter::note_step(const nlohmann::json& event) {
  if (const auto step = number(event, "step")) progress_.step = static_cast<std::int64_t>(*step);
  progress_.loss = number(event, "loss");
  progress_.tokens_per_second = number(event, "tokens_per_second");
  progress_.mfu = number(event, "mfu");
  if (const auto seconds = number(event, "step_seconds")) recent_.push_back(*seconds);
  if (recent_.size() > kRecentSteps) recent_.pop_front();
  if (progress_.steps <= 0 || recent_.empty()) return;
  const double each = median({recent_.begin(), recent_.end()});
  const double left = static_cast<double>(std::max<std::int64_t>(progress_.steps - progress_.step, 0)) * each;
  progress_.left = std::chrono::seconds(std::llround(left));
}

}  // namespace stint
