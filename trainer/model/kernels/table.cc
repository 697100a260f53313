// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/kernels/values.h"

namespace stint::model::STINT_KERNELS {
namespace {

// Made when first asked for: what is compiled for a vector unit may run only where there is one.
template <typename T>
const Kernels* table() {
  static const Kernels kTable = [] {
    Kernels table{};
    table.name = STINT_KERNELS_NAME;
    add_rows<T>(table);
    add_norm<T>(table);
    add_rotary<T>(table);
    add_attention<T>(table);
    add_swiglu<T>(table);
    add_cross_entropy<T>(table);
    add_update<T>(table);
    return table;
  }();
  return &kTable;
}

}  // namespace

const Kernels* table_of(Operand operand) {
  if (operand == Operand::kFloat) return table<float>();
  if (operand == Operand::kHalf) return table<Half>();
  return operand == Operand::kBf16 ? table<Bf16>() : table<Rounded>();
}

}  // namespace stint::model::STINT_KERNELS
