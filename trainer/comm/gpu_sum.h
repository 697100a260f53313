// SPDX-License-Identifier: Apache-2.0
// The sum of one element over all ranks, in the order of communicator.h; the device kernels are this and a
// loop. Compiles for the host too, where the tests hold it against the reference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define STINT_HOST_AND_DEVICE __host__ __device__
#else
#define STINT_HOST_AND_DEVICE
#endif

namespace stint::comm::gpu {

// bf16 as the bits that data.h gives it.
STINT_HOST_AND_DEVICE inline float widened(float value) {
  return value;
}
STINT_HOST_AND_DEVICE inline float widened(std::uint16_t bits) {
  const std::uint32_t wide = std::uint32_t{bits} << 16;
  float value;
  memcpy(&value, &wide, sizeof value);
  return value;
}
STINT_HOST_AND_DEVICE inline void store(float& to, float value) {
  to = value;
}
STINT_HOST_AND_DEVICE inline void store(std::uint16_t& to, float value) {
  std::uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  const bool nan = (bits & 0x7fffffffU) > 0x7f800000U;
  to = static_cast<std::uint16_t>(nan ? (bits >> 16) | 0x40U : (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

// own[i] becomes the sum over `ranks` ranks; others[k * stride + i] are the terms of those but `rank`,
// ascending. Sums of 2^k neighbours wait on the stack for the neighbour of their own size, as the digits of a
// binary counter do for the carry.
template <typename T>
STINT_HOST_AND_DEVICE inline void sum_element(T* own, const T* others, std::size_t stride, int ranks,
                                              int rank, std::size_t i) {
  float stack[32];
  int top = 0;
  for (int r = 0; r < ranks; ++r) {
    const int place = r < rank ? r : r - 1;
    float sum = widened(r == rank ? own[i] : others[static_cast<std::size_t>(place) * stride + i]);
    for (int carry = r + 1; carry % 2 == 0; carry /= 2) sum = stack[--top] + sum;
    stack[top++] = sum;
  }
  float sum = stack[--top];
  while (top > 0) sum = stack[--top] + sum;
  store(own[i], sum);
}

}  // namespace stint::comm::gpu
