// SPDX-License-Identifier: Apache-2.0
// Watches the end of the segment for the agent that keeps the run's log: asks stintd now and then, beside the
// event loop, and says when it is time to stop. While stintd does not answer its last word counts; without
// one, what Slurm says of the job's end.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "trainer/agent/segment_end.h"

namespace stint::agent {

class SegmentWatch {
 public:
  using Clock = std::chrono::system_clock;  // ends are times of day
  struct Job {
    std::string address;  // stintd's host:port
    std::string id;
    std::string plan;
  };

  // log: what the run did before, for the time of its saves. Throws Error.
  SegmentWatch(Job job, EndLead::Limits limits, const RunLog& log);
  ~SegmentWatch();
  SegmentWatch(const SegmentWatch&) = delete;
  SegmentWatch& operator=(const SegmentWatch&) = delete;

  int descriptor() const;  // readable: an answer is there, turn() takes it
  void note(const std::string& type, const nlohmann::json& fields) { lead_.note(type, fields); }
  // To be called often. The window, once it is time to stop for its end.
  std::optional<JobWindow> turn(Clock::time_point now);
  std::chrono::milliseconds lead() const { return lead_.lead(); }

 private:
  struct Shared;
  void ask(Clock::time_point now);

  Job job_;
  EndLead lead_;
  std::shared_ptr<Shared> shared_;  // the thread holds it too: it may outlast this object by one time-out
  bool under_way_ = false;
  Clock::time_point next_question_{};
  std::optional<JobWindow> window_;
};

}  // namespace stint::agent
