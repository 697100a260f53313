// SPDX-License-Identifier: Apache-2.0
// A device whose memory the host cannot touch, as a GPU's: what a GPU computes with, on a CPU, in pages that
// are open while an operation runs and at no other time. One thread.
#pragma once

#include "trainer/model/device.h"

namespace stint::model {

// The only one; its operands are kFloat and kBf16.
Device& far_device();

}  // namespace stint::model
