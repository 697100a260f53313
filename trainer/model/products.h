// SPDX-License-Identifier: Apache-2.0
// Matrix products into memory that is there already: on a CPU OpenBLAS (or what torch has in its place) in
// fp32 and oneDNN in bf16, both called through ATen, which stays behind this header.
#pragma once

#include <cstdint>
#include <string>

#include "trainer/model/kernels/kernels.h"

namespace stint::model {

// Sets the width of ATen's pool, flushes denormals to zero in this thread and the pool's, and keeps what
// malloc gave. Call before any other mathematics, from the thread that trains; the width must not change
// during a run, or bits do.
void start_mathematics(int threads);

// Name and version of the BLAS that this build's torch has within itself; empty where it calls the system's.
std::string torch_blas();

// bf16 for a model that asks for it, where oneDNN has such products; else floats rounded to bf16.
Operand bf16_operand();

// Somebody else's memory.
struct Matrix {
  void* data = nullptr;
  std::int64_t rows = 0, columns = 0;
  std::int64_t row_stride = columns, column_stride = 1;

  Matrix transposed() const { return {data, columns, rows, column_stride, row_stride}; }
};

// out = a b, or out += a b (not in bf16); all of the same type. Throws Error.
void multiply(Operand type, const Matrix& a, const Matrix& b, const Matrix& out, bool adds = false);

}  // namespace stint::model
