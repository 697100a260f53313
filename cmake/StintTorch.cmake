# SPDX-License-Identifier: Apache-2.0
# Finds libtorch: Debian's, or the one in STINT_TORCH, a folder with include/, lib/ and share/ (an unpacked libtorch, or
# `torch` within a Python package). Defines stint_torch, for sources that see no headers but torch's and the standard
# library's: torch's packages bring other versions of common libraries along.
set(STINT_TORCH "" CACHE PATH "folder of another libtorch than the system's")
if(STINT_TORCH)
  if(NOT EXISTS ${STINT_TORCH}/share/cmake/Torch/TorchConfig.cmake)
    message(FATAL_ERROR "STINT_TORCH: ${STINT_TORCH} has no share/cmake/Torch/TorchConfig.cmake; "
      "name the folder of a libtorch, which has include, lib and share")
  endif()
  set(Torch_DIR ${STINT_TORCH}/share/cmake/Torch)
endif()
# Torch's package is looked into for its own parts alone, and adds GPU architectures to everybody's flags.
set(_prefix_path "${CMAKE_PREFIX_PATH}")
set(_cuda_flags "${CMAKE_CUDA_FLAGS}")
list(PREPEND CMAKE_PREFIX_PATH ${STINT_TORCH})
find_package(Torch REQUIRED)
set(CMAKE_PREFIX_PATH "${_prefix_path}")
set(CMAKE_CUDA_FLAGS "${_cuda_flags}")
if(NOT STINT_TORCH AND Torch_DIR MATCHES "site-packages|dist-packages")
  message(FATAL_ERROR "libtorch: ${Torch_DIR} belongs to a Python package; install libtorch-dev and unset Torch_DIR, "
    "or choose it with STINT_TORCH")
endif()
add_library(stint_torch INTERFACE)
target_include_directories(stint_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
target_link_libraries(stint_torch INTERFACE ${TORCH_LIBRARIES})
# A Python package of torch rests on CUDA libraries in packages beside it, newer than the toolkit's perhaps.
file(GLOB _torch_beside ${STINT_TORCH}/../nvidia/*/lib)
foreach(_folder IN LISTS _torch_beside)
  target_link_options(stint_torch INTERFACE LINKER:-rpath,${_folder})
endforeach()

get_filename_component(_torch_folder ${TORCH_LIBRARY} DIRECTORY)
execute_process(COMMAND ${CMAKE_READELF} -d ${_torch_folder}/libtorch_cpu.so
  OUTPUT_VARIABLE _torch_needs RESULT_VARIABLE _torch_unread)
if(_torch_unread)
  message(FATAL_ERROR "libtorch: ${CMAKE_READELF} cannot read ${_torch_folder}/libtorch_cpu.so")
endif()
if(NOT _torch_needs MATCHES "libblas\\.so\\.3")
  message(STATUS "libtorch ${Torch_VERSION}: ${_torch_folder}, with a BLAS of its own")
  return()
endif()
# ATen calls libblas.so.3, an alternative. Debian's default is the reference BLAS: some 25 times slower; the pthread
# build of OpenBLAS ignores ATen's thread count.
find_library(STINT_BLAS NAMES libblas.so.3 REQUIRED)
file(REAL_PATH ${STINT_BLAS} _blas_file)
if(NOT _blas_file MATCHES "openblas-openmp")
  message(FATAL_ERROR "BLAS: ${STINT_BLAS} is ${_blas_file}; "
    "install the package libopenblas0-openmp (or choose it: update-alternatives --config libblas.so.3-${CMAKE_LIBRARY_ARCHITECTURE})")
endif()
message(STATUS "libtorch ${Torch_VERSION}: ${_torch_folder}, on ${_blas_file}")
