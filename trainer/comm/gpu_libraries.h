// SPDX-License-Identifier: Apache-2.0
// The libraries of a GPU machine, found when the first one is wanted: NCCL, the CUDA runtime and our own
// device kernels. None of them is needed to build or to run on CPUs.
#pragma once

#include <optional>
#include <string>

#include "trainer/comm/gpu_abi.h"

namespace stint::comm::gpu {

// Where a build or an installation puts libstint_gpu.so.
std::string kernels_beside_program();

// As dlopen takes them: found by the loader's own rules, or paths.
struct LibraryNames {
  std::string nccl = "libnccl.so.2";
  std::string cuda = "libcudart.so.13";
  std::string kernels = kernels_beside_program();
};

// Once loaded, they stay for the life of the process: both have threads of their own. NCCL_NVLS_ENABLE
// becomes 0 where the environment does not say otherwise.
class Libraries {
 public:
  // Throws Error that names what is missing, or too old, and what to install.
  explicit Libraries(const LibraryNames& names = {});

  NcclFunctions nccl;
  CudaFunctions cuda;
  std::optional<KernelFunctions> kernels;  // a build without nvcc has none
  std::string why_no_kernels;

  // Throws Error that says what the driver lacks when there is no such device; makes it this thread's.
  void use_device(int device) const;
};

// "out of memory (cudaErrorMemoryAllocation)".
std::string text_of(const CudaFunctions& cuda, CudaError error);
// Throws Error "cuda: cannot …: why" for all but success.
void check(const CudaFunctions& cuda, CudaError error, const char* doing);

}  // namespace stint::comm::gpu
