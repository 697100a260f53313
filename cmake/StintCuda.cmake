# SPDX-License-Identifier: Apache-2.0
# Sets STINT_CUDA where nvcc of the CUDA 13 toolkit is: it compiles the device kernels. Without it all else is built as
# ever, and collectives among GPUs add in NCCL's own order only. Where NCCL's header is, too, the tests compare our
# declarations with it (STINT_NCCL_LIBRARY).
include(CheckLanguage)
set(STINT_CUDA OFF)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  message(STATUS "no nvcc in PATH: no device kernels")
  return()
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 100)  # A100, H100, B200 and whatever comes after it
endif()
enable_language(CUDA)
find_package(CUDAToolkit)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 13 OR NOT TARGET CUDA::cudart)
  message(STATUS "nvcc ${CMAKE_CUDA_COMPILER_VERSION} is older than 13, or its runtime is missing: no device kernels")
  return()
endif()
set(STINT_CUDA ON)
set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
set(CMAKE_CUDA_STANDARD 17)
message(STATUS "CUDA ${CMAKE_CUDA_COMPILER_VERSION}: device kernels for ${CMAKE_CUDA_ARCHITECTURES}")
find_path(STINT_NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_library(STINT_NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR})
