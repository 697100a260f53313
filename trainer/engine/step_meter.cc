// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/step_meter.h"

#include <algorithm>

namespace stint::engine {

void StepMeter::add(const StepReport& report) {
  if (!report.overflow) ++steps_;
  seconds_ += report.seconds;
  communicating_ += report.communicating;
  reading_ += report.reading;
}

nlohmann::json StepMeter::event(const StepReport& report) {
  const double seconds = std::max(seconds_, 1e-9);
  const double rate = static_cast<double>(steps_) * work_.tokens / seconds;
  nlohmann::json event = {{"type", "step"},
                          {"step", report.step},
                          {"loss", report.loss},
                          {"grad_norm", report.grad_norm},
                          {"learning_rate", report.learning_rate},
                          {"tokens_per_second", rate},
                          {"step_seconds", seconds / static_cast<double>(std::max<std::int64_t>(steps_, 1))},
                          {"mfu", rate * work_.flops_per_token / work_.peak},
                          {"communication_share", communicating_ / seconds},
                          {"data_share", reading_ / seconds},
                          {"peak_memory_bytes", report.peak_memory}};
  if (report.loss_scale > 0) event["loss_scale"] = report.loss_scale;
  *this = StepMeter(work_);
  return event;
}

}  // namespace stint::engine
