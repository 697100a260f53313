// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/blas.h"

#include <dlfcn.h>

#include <cstdlib>
#include <memory>

#include "base/error.h"
#include "trainer/model/products.h"

namespace stint::engine {
namespace {

constexpr char kRemedy[] =
    "install the package libopenblas0-openmp (update-alternatives chooses between several)";
constexpr int kOpenMp = 2;  // openblas_get_parallel: 0 serial, 1 pthread, 2 OpenMP

std::string real_path(const char* path) {
  const std::unique_ptr<char, decltype(&std::free)> resolved(realpath(path, nullptr), &std::free);
  return resolved ? resolved.get() : path;
}

template <typename Function>
Function* find(void* library, const char* name) {
  return reinterpret_cast<Function*>(dlsym(library, name));
}

}  // namespace

Blas require_blas(int threads) {
  if (const auto own = model::torch_blas(); !own.empty()) return {"libtorch_cpu.so", "MKL", own};
  return require_openblas(threads);
}

Blas require_openblas(int threads) {
  Dl_info where{};
  void* sgemm = dlsym(RTLD_DEFAULT, "sgemm_");
  if (sgemm == nullptr || dladdr(sgemm, &where) == 0) fail("BLAS: no sgemm in this process; {}", kRemedy);
  Blas blas;
  blas.file = real_path(where.dli_fname);
  // OpenBLAS may be in the process for LAPACK's sake only; what counts is whether sgemm's own library rests
  // on it.
  void* library = dlopen(where.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) fail("BLAS: cannot look into {}: {}", blas.file, dlerror());
  const auto parallel = find<int()>(library, "openblas_get_parallel");
  const auto core = find<char*()>(library, "openblas_get_corename");
  const auto config = find<char*()>(library, "openblas_get_config");
  const auto set_threads = find<void(int)>(library, "openblas_set_num_threads");
  if (parallel == nullptr || core == nullptr || config == nullptr || set_threads == nullptr)
    fail("BLAS: {} is not OpenBLAS and many times slower; {}", blas.file, kRemedy);
  if (parallel() != kOpenMp)
    fail("BLAS: {} is OpenBLAS without OpenMP and ignores the worker's thread count; {}", blas.file, kRemedy);
  set_threads(threads);
  blas.kernel = core();
  blas.config = config();
  dlclose(library);  // only drops our count
  return blas;
}

}  // namespace stint::engine
