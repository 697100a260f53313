// SPDX-License-Identifier: Apache-2.0
#include "operands.h"
#include "trainer/model/aten.h"

namespace stint::model {

std::vector<Table> all_tables() {
  return {{Operand::kFloat, &aten::kernels(false, Operand::kFloat)},
          {Operand::kBf16, &aten::kernels(false, Operand::kBf16)}};
}

}  // namespace stint::model
