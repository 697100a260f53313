// SPDX-License-Identifier: Apache-2.0
// The points at which a test ends stintd as kill -9 would: after every write of the ledger and after every
// change in Slurm. Between two of them nothing outlasts the process, so a stintd that is right after a kill
// at each of them is right after a kill anywhere.
//
// In the environment: STINT_KILL_AT=ledger.add_plan ends the process when it passes that point for the first
// time, ledger.add_plan:3 for the third. Points: ledger.<function of Ledger>, slurm.<function of Cluster>.
#pragma once

#include <functional>
#include <string_view>

namespace stint::reservations {

void kill_point(std::string_view name);

// Of unit tests: called at each point instead, until it is set to nothing again. Not safe while other threads
// pass points.
void set_kill_handler(std::function<void(std::string_view)> handler);

}  // namespace stint::reservations
