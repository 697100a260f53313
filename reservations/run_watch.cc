// SPDX-License-Identifier: Apache-2.0
#include "reservations/run_watch.h"

#include <fmt/format.h>

#include <fstream>

#include "base/contract.h"

namespace stint::reservations {
namespace {

using Json = nlohmann::json;

constexpr double kCheckpointInterval = 10;  // seconds

std::string text_of(const Json& event, const char* key) {
  const auto found = event.find(key);
  if (found == event.end() || found->is_null()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::string tell_start(const Json& event, bool first) {
  const std::string step = text_of(event, "resume_step");
  if (first && (step.empty() || step == "0")) return fmt::format("job {} trains", text_of(event, "job"));
  return fmt::format("job {} resumed at step {}", text_of(event, "job"), step);
}

}  // namespace

std::vector<Json> LogFollower::next() {
  std::vector<Json> events;
  std::ifstream stream = open_log(run_);
  if (!stream.is_open() || !stream.seekg(static_cast<std::streamoff>(offset_))) return events;
  char buffer[65536];
  while (stream.read(buffer, sizeof buffer) || stream.gcount() > 0) {
    rest_.append(buffer, static_cast<std::size_t>(stream.gcount()));
    offset_ += static_cast<std::uint64_t>(stream.gcount());
  }
  std::size_t begin = 0;
  for (std::size_t end; (end = rest_.find('\n', begin)) != std::string::npos; begin = end + 1) {
    Json event = Json::parse(rest_.begin() + static_cast<std::ptrdiff_t>(begin),
                             rest_.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (event.is_object() && event.contains("event") && event["event"].is_string())
      events.push_back(std::move(event));
  }
  rest_.erase(0, begin);
  return events;
}

std::optional<std::string> RunWatch::tell_checkpoint(const Json& event) {
  const double t = event.contains("t") && event["t"].is_number() ? event["t"].get<double>() : 0;
  if (checkpoint_told_ && t - *checkpoint_told_ < kCheckpointInterval) return std::nullopt;
  checkpoint_told_ = t;
  return fmt::format("checkpoint at step {}", text_of(event, "step"));
}

std::optional<std::string> RunWatch::note(const Json& event) {
  const std::string name = text_of(event, "event");
  meter_.note(event);
  if (name == "start") {
    const std::string line = tell_start(event, !started_);
    started_ = true;
    ended_.reset();
    checkpoint_told_.reset();
    job_ = text_of(event, "job");
    return line;
  }
  if (name == "checkpoint") return tell_checkpoint(event);
  if (name == "checkpoint_failed") return text_of(event, "why");
  if (name == "peer_lost") return fmt::format("lost {}: {}", text_of(event, "node"), text_of(event, "why"));
  if (name == "worker_lost")
    return fmt::format("lost a worker on {}: {}", text_of(event, "node"), text_of(event, "why"));
  if (name == "restart") return fmt::format("starts again: {}", text_of(event, "why"));
  if (name == "segment_end") return text_of(event, "why");
  if (name == "stopping") return fmt::format("stops: {}", text_of(event, "why"));
  if (name == "finish") {
    ended_ = 0;
    return fmt::format("finished at step {}", text_of(event, "step"));
  }
  if (name == "error") {
    if (event.value("exit", Json()) == contract::kExitDoNotRequeue) ended_ = 1;
    return fmt::format("error: {}", text_of(event, "what"));
  }
  return std::nullopt;
}

}  // namespace stint::reservations
