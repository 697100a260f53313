// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/loss_scale.h"

#include <algorithm>
#include <cmath>

namespace stint::engine {
namespace {

constexpr double kLeast = 1, kMost = 1 << 24;

}  // namespace

LossScale::LossScale(const recipes::Recipe& recipe) : dynamic_(recipe.model.precision == "fp16") {
  if (!dynamic_) return;
  const auto& o = recipe.optim;
  value_ = o.loss_scale;
  growth_ = o.loss_scale_growth;
  backoff_ = o.loss_scale_backoff;
  interval_ = o.loss_scale_interval;
}

void LossScale::note_update() {
  if (!dynamic_ || ++updates_ < interval_) return;
  value_ = std::min(value_ * growth_, kMost);
  updates_ = 0;
}

bool LossScale::note_overflow() {
  if (!dynamic_ || value_ <= kLeast) return false;
  value_ = std::max(value_ * backoff_, kLeast);
  updates_ = 0;
  return true;
}

void LossScale::restore(double value, std::int64_t updates) {
  if (!dynamic_ || !std::isfinite(value) || value < kLeast || value > kMost || updates < 0) return;
  value_ = value;
  updates_ = updates;
}

}  // namespace stint::engine
