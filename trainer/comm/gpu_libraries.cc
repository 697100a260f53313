// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/gpu_libraries.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "base/error.h"

namespace stint::comm::gpu {
namespace {

constexpr const char* kInstallNccl =
    "install NCCL 2.28.9 or newer for CUDA 13 (libnccl2), or name its folder in "
    "LD_LIBRARY_PATH";
constexpr const char* kInstallCuda =
    "install the CUDA 13 runtime (cuda-cudart-13-0), or name its folder in "
    "LD_LIBRARY_PATH";

class Library {
 public:
  Library(const std::string& name, const char* remedy)
      : name_(name), remedy_(remedy), handle_(dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)) {
    if (handle_ == nullptr) fail("gpu: cannot load {}: {}; {}", name, dlerror(), remedy);
  }

  template <typename Function>
  void find(Function& function, const char* symbol) const {
    function = reinterpret_cast<Function>(dlsym(handle_, symbol));
    if (function == nullptr) fail("gpu: {} has no function {}; {}", name_, symbol, remedy_);
  }

 private:
  const std::string& name_;
  const char* remedy_;
  void* handle_;
};

std::string nccl_version_text(int version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

#define STINT_FIND(result, name, symbol, parameters) library.find(functions.name, #symbol);

NcclFunctions load_nccl(const std::string& name) {
  // Communicators that use the switches' multicast can be neither revoked nor shrunk safely. Read when NCCL
  // starts.
  setenv("NCCL_NVLS_ENABLE", "0", 0);
  const Library library(name, kInstallNccl);
  NcclFunctions functions;
  library.find(functions.version, "ncclGetVersion");
  int version = 0;
  if (functions.version(&version) != NcclResult::kSuccess || version < kNcclOldest)
    fail("gpu: {} is NCCL {}; {}", name, nccl_version_text(version), kInstallNccl);
  STINT_NCCL_FUNCTIONS(STINT_FIND)
  return functions;
}

CudaFunctions load_cuda(const std::string& name) {
  const Library library(name, kInstallCuda);
  CudaFunctions functions;
  STINT_CUDA_FUNCTIONS(STINT_FIND)
  int version = 0;
  if (functions.version(&version) != CudaError::kSuccess || version < kCudaOldest)
    fail("gpu: {} is CUDA {}.{}; {}", name, version / 1000, version / 10 % 100, kInstallCuda);
  return functions;
}

KernelFunctions load_kernels(const std::string& name) {
  const Library library(name, "build Stint with nvcc of the CUDA 13 toolkit in PATH");
  KernelFunctions functions;
  STINT_KERNEL_FUNCTIONS(STINT_FIND)
  return functions;
}

#undef STINT_FIND

}  // namespace

std::string kernels_beside_program() {
  std::error_code error;
  const auto prefix = std::filesystem::read_symlink("/proc/self/exe", error).parent_path().parent_path();
  const auto installed = prefix / KERNEL_FOLDER / "libstint_gpu.so", built = prefix / "lib/libstint_gpu.so";
  return std::filesystem::exists(installed, error) ? installed : built;
}

// The runtime first: the kernels are bound to the one that is there already.
Libraries::Libraries(const LibraryNames& names) : cuda(load_cuda(names.cuda)) {
  nccl = load_nccl(names.nccl);
  try {
    kernels = load_kernels(names.kernels);
  } catch (const Error& error) {
    why_no_kernels = error.what();
  }
}

void Libraries::use_device(int device) const {
  int count = 0;
  if (const CudaError error = cuda.device_count(&count); error != CudaError::kSuccess)
    fail(
        "gpu: no GPU can be used: {}; see what nvidia-smi says, and that the driver is of release 580 or "
        "newer",
        text_of(cuda, error));
  if (device < 0 || device >= count)
    fail("gpu: there is no GPU {}, this process sees {}; see CUDA_VISIBLE_DEVICES and the job's --gres",
         device, count);
  check(cuda, cuda.set_device(device), fmt::format("use GPU {}", device).c_str());
}

std::string text_of(const CudaFunctions& cuda, CudaError error) {
  return fmt::format("{} ({})", cuda.error_text(error), cuda.error_name(error));
}

void check(const CudaFunctions& cuda, CudaError error, const char* doing) {
  if (error != CudaError::kSuccess) fail("gpu: cannot {}: {}", doing, text_of(cuda, error));
}

}  // namespace stint::comm::gpu
