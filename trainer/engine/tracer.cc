// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/tracer.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

namespace stint::engine {
namespace {

double microseconds(Tracer::Clock::duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

}  // namespace

void Tracer::start() {
  const std::lock_guard lock(mutex_);
  events_.clear();
  on_ = true;
}

std::vector<Tracer::Event> Tracer::stop() {
  end_phase();
  const std::lock_guard lock(mutex_);
  on_ = false;
  return std::move(events_);
}

void Tracer::add(const Event& event) {
  const std::lock_guard lock(mutex_);
  if (on()) events_.push_back(event);
}

void Tracer::begin_phase(const char* name, std::size_t unit) {
  if (!on()) return;
  end_phase();
  phase_ = {name};
  phase_.unit = static_cast<std::int64_t>(unit);
  phase_.begin = Clock::now();
}

void Tracer::end_phase() {
  if (phase_.name == nullptr) return;
  phase_.end = Clock::now();
  add(phase_);
  phase_ = {nullptr};
}

ClockOffset clock_offset(std::span<const Window> own, std::span<const Window> first_rank) {
  auto low = std::numeric_limits<double>::lowest(), high = std::numeric_limits<double>::max();
  for (std::size_t i = 0; i < own.size(); ++i) {
    low = std::max(low, static_cast<double>(own[i].entered - first_rank[i].left));
    high = std::min(high, static_cast<double>(own[i].left - first_rank[i].entered));
  }
  return {low + (high - low) / 2, std::max(0.0, (high - low) / 2)};
}

nlohmann::json trace_part(const TraceFacts& facts, const std::vector<Tracer::Event>& events) {
  auto list = nlohmann::json::array();
  for (const auto& event : events) {
    std::string name = event.name;
    nlohmann::json arguments = nlohmann::json::object();
    if (event.unit != Tracer::kNone) name += " " + facts.units.at(static_cast<std::size_t>(event.unit));
    if (event.sequence != Tracer::kNone) arguments = {{"sequence", event.sequence}, {"bytes", event.bytes}};
    list.push_back({{"name", std::move(name)},
                    {"cat", event.name},
                    {"ph", "X"},
                    {"pid", facts.rank},
                    {"tid", event.row == Tracer::Row::kCompute ? 0 : 1},
                    {"ts", microseconds(event.begin - facts.zero)},
                    {"dur", microseconds(event.end - event.begin)},
                    {"args", std::move(arguments)}});
  }
  return {{"rank", facts.rank},
          {"first_step", facts.first_step},
          {"steps", facts.steps},
          {"clock_offset_us", facts.offset.nanoseconds / 1e3},
          {"clock_error_us", facts.offset.error / 1e3},
          {"events", std::move(list)}};
}

}  // namespace stint::engine
