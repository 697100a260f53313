// SPDX-License-Identifier: Apache-2.0
// What a rank does and when, over a few steps, for people to look at. Off, a span costs a branch. Two
// threads add to it: the one that computes and the one that communicates.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

namespace stint::engine {

class Tracer {
 public:
  using Clock = std::chrono::steady_clock;
  enum class Row { kCompute, kCommunicate };
  static constexpr std::int64_t kNone = -1;

  struct Event {
    const char* name;
    Row row = Row::kCompute;
    std::int64_t unit = kNone;      // of the layout
    std::int64_t sequence = kNone;  // of a collective: the same number on every rank that takes part
    std::uint64_t bytes = 0;        // of a collective, in all
    Clock::time_point begin{}, end{};
  };

  bool on() const { return on_.load(std::memory_order_relaxed); }
  void start();
  std::vector<Event> stop();
  void add(const Event& event);

  // Work on one unit after another, by the computing thread: a new phase ends the one before.
  void begin_phase(const char* name, std::size_t unit);
  void end_phase();
  bool in_phase_of(std::size_t unit) const { return phase_.unit == static_cast<std::int64_t>(unit); }

  // Of the communicating thread; counts while off too, so that ranks agree.
  std::int64_t next_sequence() { return sequence_++; }

 private:
  std::atomic<bool> on_ = false;
  std::mutex mutex_;
  std::vector<Event> events_;
  Event phase_{};
  std::int64_t sequence_ = 0;
};

// From its making to its end.
class Span {
 public:
  Span(Tracer& tracer, const char* name, std::size_t unit) : Span(tracer, {name}) {
    event_.unit = static_cast<std::int64_t>(unit);
  }
  Span(Tracer& tracer, const Tracer::Event& event) : tracer_(tracer.on() ? &tracer : nullptr), event_(event) {
    if (tracer_ != nullptr) event_.begin = Tracer::Clock::now();
  }
  // A collective, by the thread that carries it out.
  static Span collective(Tracer& tracer, const char* name, std::int64_t unit, std::uint64_t bytes) {
    return {tracer, {name, Tracer::Row::kCommunicate, unit, tracer.next_sequence(), bytes}};
  }
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;
  ~Span() {
    if (tracer_ == nullptr) return;
    event_.end = Tracer::Clock::now();
    tracer_->add(event_);
  }

 private:
  Tracer* tracer_;
  Tracer::Event event_;
};

// How far a rank's clock is ahead of rank 0's. All leave a barrier after the last one has entered it, so at
// one moment at least all are within; each barrier bounds the difference, and several bound it closely.
struct Window {
  std::int64_t entered = 0, left = 0;  // a barrier; nanoseconds of the rank's own clock
};
struct ClockOffset {
  double nanoseconds = 0;
  double error = 0;  // at most
};
ClockOffset clock_offset(std::span<const Window> own, std::span<const Window> first_rank);

// A rank's part of a profile: as base/run_profile.h says.
struct TraceFacts {
  std::int64_t rank = 0, first_step = 0, steps = 0;
  ClockOffset offset;
  Tracer::Clock::time_point zero;  // on this rank's clock: what times are counted from
  std::vector<std::string> units;  // their names
};
nlohmann::json trace_part(const TraceFacts& facts, const std::vector<Tracer::Event>& events);

}  // namespace stint::engine
