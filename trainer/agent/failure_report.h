// SPDX-License-Identifier: Apache-2.0
// Tells stintd that a node seems to be gone and asks for its verdict, beside the event loop: a thread does
// the call, a descriptor becomes readable when the answer is there. At most one call at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace stint::agent {

enum class Verdict {
  kDown,     // stintd takes the node out; Slurm will end this job's step
  kHealthy,  // the node's slurmd answers: only our processes on it are gone
  kUnknown,  // stintd cannot be reached, or does not know
};

struct FailureReport {
  std::string address;  // stintd's host:port
  std::string job;
  std::vector<std::string> nodes;
  std::string why;
};

struct Answer {
  Verdict verdict = Verdict::kUnknown;
  std::string detail;  // for people
};

class FailureReporter {
 public:
  FailureReporter();  // throws Error
  ~FailureReporter();
  FailureReporter(const FailureReporter&) = delete;
  FailureReporter& operator=(const FailureReporter&) = delete;

  int descriptor() const;  // readable: take() has the answer
  void start(FailureReport report);
  bool under_way() const { return under_way_; }
  // The answer, once.
  std::optional<Answer> take();

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;  // the thread holds it too: it may outlast this object by one time-out
  bool under_way_ = false;
};

}  // namespace stint::agent
