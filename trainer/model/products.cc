// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/products.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <malloc.h>

#include "base/final_error.h"

namespace stint::model {
namespace {

at::Tensor view(Operand type, const Matrix& m) {
  return at::from_blob(m.data, {m.rows, m.columns}, {m.row_stride, m.column_stride},
                       at::TensorOptions(type == Operand::kBf16 ? at::kBFloat16 : at::kFloat));
}

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
  at::globalContext().setFlushDenormal(true);
  at::set_num_threads(threads);
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

// Torch's messages carry a stack of frames behind their first line.
void multiply(Operand type, const Matrix& a, const Matrix& b, const Matrix& out, bool adds) {
  try {
    const at::NoGradGuard no_derivatives;
    auto result = view(type, out);
    if (adds)
      at::addmm_out(result, result, view(type, a), view(type, b));
    else
      at::mm_out(result, view(type, a), view(type, b));
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    const std::string line = text.substr(0, text.find('\n'));
    if (line.find("allocate memory") != std::string::npos)
      fail_finally("memory: {}; lower data.micro_batch_size or data.sequence_length", line);
    fail("model: {}", line);
  }
}

}  // namespace stint::model
