// SPDX-License-Identifier: Apache-2.0
// The Llama architecture once more, as plain loops in double: slow, short and obvious. What the fast model is
// compared with.
#pragma once

#include <cstdint>
#include <span>

#include "trainer/model/config.h"

namespace stint::model {

// As Llama::forward, over the same flat layout.
double reference_loss(const Config& config, const Layout& layout, std::span<const double> parameters,
                      std::span<const std::int64_t> tokens, std::int64_t batch, double scale);

}  // namespace stint::model
