// SPDX-License-Identifier: Apache-2.0
// All that the project asks of torch. The sources behind this header see torch's headers and none that would
// meet another version of a library there (torch's packages bring an fmt of their own). What torch throws
// becomes a DeviceFailure.
#pragma once

#include <memory>
#include <string>

#include "trainer/model/device.h"

namespace stint::model::aten {

// Sets the width of ATen's pool, and flushes denormals to zero in this thread and the pool's.
void start(int threads);

// multiply() of products.h, on a CPU.
void multiply(Operand type, const Matrix& a, const Matrix& b, const Matrix& out, bool adds);

// Name and version of the BLAS that torch has within itself; empty where it calls the system's.
std::string own_blas();

// Whether this build's torch is one for GPUs.
bool is_for_gpus();

// ATen's operators, on the GPU that CUDA has as the current one; or, slower than cpu(), on a CPU, where tests
// can see what they do on a GPU. Its operands are kFloat or kBf16. Throws DeviceFailure that says what to do
// where there is no GPU. No GPU was at hand for this code.
std::unique_ptr<Device> make_device(bool gpu);
// Its operations.
const Kernels& kernels(bool gpu, Operand operand);

}  // namespace stint::model::aten
