// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/products.h"

#include <malloc.h>

#include "trainer/model/aten.h"

namespace stint::model {
namespace {

// oneDNN takes scratch for a product and gives it back: keep that memory instead of having the kernel clear
// it for every product.
void keep_memory() {
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
}

}  // namespace

void start_mathematics(int threads) {
  keep_memory();
  aten::start(threads);
}

// oneDNN has them from AVX-512 on; below it ATen falls to plain loops, a hundred times slower.
Operand bf16_operand() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq"))
    return Operand::kBf16;
#endif
  return Operand::kRounded;
}

void multiply(Operand type, const Matrix& a, const Matrix& b, const Matrix& out, bool adds) {
  try {
    aten::multiply(type, a, b, out, adds);
  } catch (const DeviceFailure& failure) {
    explain(failure);
  }
}

std::string torch_blas() {
  return aten::own_blas();
}

}  // namespace stint::model
