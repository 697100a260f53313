// SPDX-License-Identifier: Apache-2.0
// What the loss is multiplied by, so that small derivatives do not vanish in fp16 and large ones do not
// overflow it (Micikevicius et al. 2018): less by a factor after each overflow, more by a factor after so
// many steps without one. Powers of two are exact. Pure; every rank comes to the same value.
#pragma once

#include <cstdint>

#include "recipes/recipe.h"

namespace stint::engine {

class LossScale {
 public:
  // 1 for ever, unless the recipe computes in fp16.
  explicit LossScale(const recipes::Recipe& recipe);

  double value() const { return value_; }
  bool is_dynamic() const { return dynamic_; }
  // After an update.
  void note_update();
  // After a gradient that was not finite. False: there is no smaller scale to try.
  bool note_overflow();

  // For checkpoints. What is no scale is passed over.
  std::int64_t updates() const { return updates_; }  // since it changed last
  void restore(double value, std::int64_t updates);

 private:
  bool dynamic_;
  double value_ = 1, growth_ = 1, backoff_ = 1;
  std::int64_t interval_ = 1, updates_ = 0;
};

}  // namespace stint::engine
