// SPDX-License-Identifier: Apache-2.0
// `stint plan report`: what accounts booked, used and paid.
#pragma once

#include <CLI/CLI.hpp>

namespace stint::reservations {

void add_report_command(CLI::App& plan_group);

}  // namespace stint::reservations
