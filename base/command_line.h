// SPDX-License-Identifier: Apache-2.0
// The arguments of a program, and the one line that wrong ones get. Knows no option of any program.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>

namespace stint {

inline constexpr int kExitUsage = 2;

// Reads the arguments into `app` and runs its callbacks. None: go on. Else the status to end with: 0 after
// --help and --version, kExitUsage after wrong usage, told on stderr under the app's name. "--option="
// without a value is wrong usage: CLI11 would take the next argument for the value. Lets through what a
// callback throws.
std::optional<int> parse_command_line(CLI::App& app, int argc, char** argv);

}  // namespace stint
