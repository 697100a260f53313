// SPDX-License-Identifier: Apache-2.0
// gpu_abi.h says what the header of the CUDA runtime says. A file of its own, since in C++ some of these
// functions are overloaded by what nccl.h includes.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "tests/unit/comm/same_abi.h"
#include "trainer/comm/gpu_abi.h"

namespace stint::comm::gpu {
namespace {

static_assert(CUDART_VERSION >= kCudaOldest, "gpu_abi.h is of CUDA 13");

#define STINT_SAME(result, name, symbol, parameters) \
  static_assert(Same<decltype(CudaFunctions::name), decltype(&::symbol)>::value, #symbol);
STINT_CUDA_FUNCTIONS(STINT_SAME)

#define STINT_VALUE(ours, theirs) static_assert(static_cast<long>(ours) == static_cast<long>(theirs), #theirs)
STINT_VALUE(CudaError::kSuccess, cudaSuccess);
STINT_VALUE(CudaError::kNotReady, cudaErrorNotReady);
STINT_VALUE(kCudaStreamNonBlocking, cudaStreamNonBlocking);
STINT_VALUE(kCudaEventDisableTiming, cudaEventDisableTiming);

TEST(GpuAbi, TheRealRuntimeHasEveryFunction) {
#define STINT_LINKED(result, name, symbol, parameters) EXPECT_NE(reinterpret_cast<void*>(&::symbol), nullptr);
  STINT_CUDA_FUNCTIONS(STINT_LINKED)
}

}  // namespace
}  // namespace stint::comm::gpu
