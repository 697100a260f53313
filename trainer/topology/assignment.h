// SPDX-License-Identifier: Apache-2.0
// The cheapest way to give each row a column of its own. Pure.
#pragma once

#include <cstddef>
#include <vector>

namespace stint::topology {

// cost[r][c] >= 0, at least as many columns as rows; column of each row. Of equally cheap ones always the
// same. Kuhn's method with potentials, O(rows^2 columns).
std::vector<std::size_t> assign(const std::vector<std::vector<int>>& cost);

}  // namespace stint::topology
