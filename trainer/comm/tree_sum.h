// SPDX-License-Identifier: Apache-2.0
// The additions of all back ends on a CPU, in the order of communicator.h.
#pragma once

#include <cstddef>
#include <span>

#include "trainer/comm/data.h"

namespace stint::comm {

// Each of sums[k][i] := the sum of terms[0][i], terms[1][i], … ; terms[r] is that of rank r, at least one.
// A sum may stand where a term stood; otherwise they do not overlap.
void tree_sum(std::span<const float* const> terms, std::span<float* const> sums, std::size_t count);
void tree_sum(std::span<const Bf16* const> terms, std::span<Bf16* const> sums, std::size_t count);

}  // namespace stint::comm
