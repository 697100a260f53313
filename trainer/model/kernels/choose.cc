// SPDX-License-Identifier: Apache-2.0
// Which of the tables this processor can run.
#include <array>

#include "trainer/model/kernels/kernels.h"
#include "trainer/model/kernels/tiles.h"

namespace stint::model {

#if defined(STINT_KERNELS_X86)
namespace avx512bf16 {
const Kernels* table_of(Operand operand);
}
namespace avx512 {
const Kernels* table_of(Operand operand);
}
namespace avx2 {
const Kernels* table_of(Operand operand);
}
#endif
namespace baseline {
const Kernels* table_of(Operand operand);
}

std::span<const Kernels* const> kernels_of(Operand operand) {
  struct Tables {
    std::array<const Kernels*, 4> table{};
    std::size_t count = 0;
    explicit Tables(Operand of) {
#if defined(STINT_KERNELS_X86)
      if (of == Operand::kBf16 && __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512bf16"))
        table[count++] = avx512bf16::table_of(of);
      if (__builtin_cpu_supports("x86-64-v4")) table[count++] = avx512::table_of(of);
      if (__builtin_cpu_supports("x86-64-v3")) table[count++] = avx2::table_of(of);
#endif
      table[count++] = baseline::table_of(of);
    }
  };
  static const std::array<Tables, 4> kTables{Tables(Operand::kFloat), Tables(Operand::kRounded),
                                             Tables(Operand::kBf16), Tables(Operand::kHalf)};
  const Tables& tables = kTables[static_cast<std::size_t>(operand)];
  return {tables.table.data(), tables.count};
}

std::int64_t attention_scratch(const AttentionShape& shape, int threads) {
  return shape.batch * shape.heads * 2 * packed_head(shape) + threads * attention_thread_scratch(shape);
}

std::int64_t rms_norm_scratch(std::int64_t rows, std::int64_t width) {
  return padded(rows, kNormBlock) / kNormBlock * width;
}

}  // namespace stint::model
