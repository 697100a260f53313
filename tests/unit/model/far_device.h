// SPDX-License-Identifier: Apache-2.0
// Devices whose memory the host cannot touch, as a GPU's: it lies in pages that are open while an operation
// runs and at no other time.
#pragma once

#include "trainer/model/device.h"

namespace stint::model {

// Computes with what a GPU computes with, ATen's operators; its operands are kFloat and kBf16.
Device& far_device();
// Computes with the loops of cpu(), so that its bits are those.
Device& far_loops();

}  // namespace stint::model
