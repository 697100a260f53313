// SPDX-License-Identifier: Apache-2.0
#include "reservations/plan_timeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/text.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr std::int64_t kColumns = 60;
constexpr std::size_t kTimeWidth = 19;  // of format_time()

sys_seconds time_of(const nlohmann::json& value) {
  return sys_seconds{seconds{value.get<std::int64_t>()}};
}

}  // namespace

std::string timeline_text(const nlohmann::json& plan, sys_seconds now) {
  const auto& segments = plan.at("segments");
  if (segments.empty()) return {};
  const sys_seconds first = time_of(segments.front().at("start"));
  const seconds whole = std::max(time_of(segments.back().at("end")) - first, seconds{1});
  const auto column_of = [&](sys_seconds time) { return (time - first) * kColumns / whole; };
  std::vector<const char*> columns(kColumns, "·");
  for (const auto& segment : segments) {
    const auto begin = std::clamp<std::int64_t>(column_of(time_of(segment.at("start"))), 0, kColumns - 1);
    const auto end = std::clamp<std::int64_t>(column_of(time_of(segment.at("end"))), begin + 1, kColumns);
    for (auto i = begin; i < end; ++i) columns[static_cast<std::size_t>(i)] = i < column_of(now) ? "█" : "░";
  }
  std::string text = fmt::format("{}\n", fmt::join(columns, ""));
  if (now < first || now >= first + whole) return text;
  const auto mark = static_cast<std::size_t>(column_of(now));
  const bool left = mark > kTimeWidth;
  return text + (left ? fmt::format("{:>{}} ^\n", format_time(now), mark - 1)
                      : fmt::format("{:>{}} {}\n", "^", mark + 1, format_time(now)));
}

}  // namespace stint::reservations
