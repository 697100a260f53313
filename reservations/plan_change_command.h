// SPDX-License-Identifier: Apache-2.0
// stint plan extend, shrink, share, transfer, approve.
#pragma once

#include <CLI/App.hpp>

namespace stint::reservations {

void add_plan_change_commands(CLI::App& group);

}  // namespace stint::reservations
