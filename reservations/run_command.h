// SPDX-License-Identifier: Apache-2.0
// `stint run …`: watch a run, print its report, draw its topology, profile it. Knows run directories; needs
// no stintd.
#pragma once

namespace CLI {
class App;
}

namespace stint::reservations {

// Adds the group `run` with its subcommands; they print errors as Error thrown from their callbacks.
CLI::App& add_run_command(CLI::App& app);

}  // namespace stint::reservations
