// SPDX-License-Identifier: Apache-2.0
// `stint doctor node`: is this node fit for training? Exit status 0: good, 1: something is bad.
#pragma once

#include <CLI/App.hpp>

namespace stint::reservations {

CLI::App& add_doctor_command(CLI::App& app);

}  // namespace stint::reservations
