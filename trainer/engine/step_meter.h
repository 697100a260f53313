// SPDX-License-Identifier: Apache-2.0
// From the reports of steps to the figures that people see: the log's step event. Pure.
#pragma once

#include <nlohmann/json.hpp>

#include "trainer/engine/engine.h"

namespace stint::engine {

class StepMeter {
 public:
  struct Work {
    double tokens = 0;           // of a step
    double flops_per_token = 0;  // of training; what activation checkpointing computes again is not counted
    double peak = 0;             // FLOP/s of all workers together
  };
  explicit StepMeter(const Work& work) : work_(work) {}

  void add(const StepReport& report);
  // Rates and shares over the steps since the last event; the rest is the last step's. `report`: of the step
  // that was added last.
  nlohmann::json event(const StepReport& report);

 private:
  Work work_;
  std::int64_t steps_ = 0;
  double seconds_ = 0, communicating_ = 0, reading_ = 0;
};

}  // namespace stint::engine
