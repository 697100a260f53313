// SPDX-License-Identifier: Apache-2.0
// Which ways the collectives go over the network: measured at the first start on some machines in some order,
// and kept in the run directory, so that later starts on the same lose no time. The ways give the same bits,
// whatever is chosen; see trainer/comm/ways.h.
#pragma once

#include "base/run_directory.h"
#include "trainer/comm/communicator.h"
#include "trainer/engine/connection.h"

namespace stint::engine {

// Every rank calls this; nothing to choose where there is no network. Rank 0 reads and writes the file, and
// says in the log what was chosen and why. A file that cannot be used, or written, costs a measurement, no
// more.
comm::Status choose_ways(const Connection& connection, const RunDirectory& run);

}  // namespace stint::engine
