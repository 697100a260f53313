// SPDX-License-Identifier: Apache-2.0
// Which BLAS this process really calls. Where torch has none within itself, the alternatives system,
// LD_LIBRARY_PATH or a container may put another one behind libblas.so.3 than the one the build saw.
#pragma once

#include <string>

namespace stint::engine {

struct Blas {
  std::string file;    // the library that sgemm comes from
  std::string kernel;  // OpenBLAS's name of the kernel set, e.g. SkylakeX; MKL
  std::string config;  // its version and build
};

// Torch's own, if it has one; else require_openblas().
Blas require_blas(int threads);
// Throws Error, naming the package to install, unless sgemm comes from OpenBLAS in its OpenMP build. Sets its
// number of threads.
Blas require_openblas(int threads);

}  // namespace stint::engine
