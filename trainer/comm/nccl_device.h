// SPDX-License-Identifier: Apache-2.0
// What the communicators of a view share on its GPU.
#pragma once

#include "trainer/comm/nccl.h"

namespace stint::comm {

struct NcclCommunicator::Device {
  std::shared_ptr<const gpu::Libraries> libraries;
  NcclSums sums;
  std::size_t scratch_bytes;
  gpu::Stream stream;
  gpu::Memory scratch;  // used in the order of the stream
};

}  // namespace stint::comm
