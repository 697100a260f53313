// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/segment_end.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/text.h"

namespace stint::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr std::size_t kRemembered = 8;
// Before the first save its time is a guess: parameters and two moments in fp32, to a slow shared disk.
constexpr double kBytesPerParameter = 12;
constexpr double kGuessedBytesPerSecond = 200e6;

std::optional<double> number_of(const nlohmann::json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

std::string text_of(const nlohmann::json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

sys_seconds time_of(double value) {
  return sys_seconds{seconds{std::llround(value)}};
}

void remember(std::deque<double>& values, std::optional<double> value) {
  if (!value || !(*value >= 0)) return;
  values.push_back(*value);
  if (values.size() > kRemembered) values.pop_front();
}

double largest(const std::deque<double>& values) {
  return values.empty() ? 0 : *std::max_element(values.begin(), values.end());
}

milliseconds in_milliseconds(double value) {
  return std::chrono::ceil<milliseconds>(std::chrono::duration<double>(value));
}

}  // namespace

JobWindow parse_window(const nlohmann::json& json) {
  const auto ends = json.is_object() ? number_of(json, "ends") : std::nullopt;
  if (!ends) fail("the window of the job has no 'ends'");
  JobWindow window;
  window.plan = text_of(json, "plan");
  window.segment = static_cast<int>(number_of(json, "segment").value_or(0));
  window.ends = time_of(*ends);
  window.next = text_of(json, "next_reservation");
  if (const auto start = number_of(json, "next_start")) window.next_start = time_of(*start);
  window.next_is_known = json.value("next_is_known", true);
  return window;
}

std::string describe(const JobWindow& window) {
  const std::string then = window.next_start      ? "goes on " + format_time(*window.next_start)
                           : window.next_is_known ? "the plan's last"
                                                  : "what follows is not known";
  return fmt::format("its time in segment {} of plan {} ends {}; {}", window.segment, window.plan,
                     format_time(window.ends), then);
}

nlohmann::json to_event(const JobWindow& window, const std::string& job, int restart, std::int64_t step) {
  nlohmann::json fields{{"job", job},
                        {"restart", restart},
                        {"step", step},
                        {"plan", window.plan},
                        {"segment", window.segment},
                        {"ends", window.ends.time_since_epoch().count()},
                        {"next_reservation", window.next},
                        {"next_is_known", window.next_is_known},
                        {"why", describe(window)}};
  if (window.next_start) fields["next_start"] = window.next_start->time_since_epoch().count();
  return fields;
}

std::optional<JobWindow> closing_window(const RunLog& log, const std::string& job, int restart) {
  for (auto event = log.events.rbegin(); event != log.events.rend(); ++event) {
    const std::string name = text_of(*event, "event");
    if (name == "start") return std::nullopt;
    if (name != "segment_end") continue;
    if (text_of(*event, "job") != job || number_of(*event, "restart") != restart) return std::nullopt;
    return parse_window(*event);
  }
  return std::nullopt;
}

void EndLead::note(const std::string& type, const nlohmann::json& fields) {
  if (type == "ready" || type == "start") parameters_ = number_of(fields, "parameters").value_or(parameters_);
  if (type == "step") remember(steps_, number_of(fields, "step_seconds"));
  if (type == "checkpoint") remember(saves_, number_of(fields, "seconds"));
}

double EndLead::save_seconds() const {
  return saves_.empty() ? parameters_ * kBytesPerParameter / kGuessedBytesPerSecond : largest(saves_);
}

milliseconds EndLead::lead() const {
  const auto save = in_milliseconds(save_seconds() * limits_.safety);
  return std::clamp(save, limits_.min, std::max(limits_.min, limits_.max)) +
         in_milliseconds(2 * largest(steps_));
}

}  // namespace stint::agent
