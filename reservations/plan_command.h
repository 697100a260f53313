// SPDX-License-Identifier: Apache-2.0
// `stint plan create | list | show | cancel`: the command line side of plans, over HTTP to stintd.
#pragma once

namespace CLI {
class App;
}

namespace stint::reservations {

// Adds the group `plan` with its subcommands; their callbacks throw Error.
CLI::App& add_plan_command(CLI::App& app);

}  // namespace stint::reservations
