// SPDX-License-Identifier: Apache-2.0
// How fast this process multiplies matrices: the peak that a step's arithmetic is held against, on a device
// whose maker names none that can be reached.
#pragma once

#include "trainer/model/device.h"

namespace stint::engine {

// FLOP/s of the fastest of a few square products in this type; where the device is the host, on so many
// threads, which must be the pool's. Takes some hundredths of a second. Throws Error.
double product_speed(model::Device& device, model::Operand operand, int threads);

}  // namespace stint::engine
