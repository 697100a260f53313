// SPDX-License-Identifier: Apache-2.0
// UCX keeps what it receives from processes of the same node in /dev/shm, which containers make small: told
// before the first step, with the remedy, instead of by a worker that cannot start.
#pragma once

#include <cstddef>
#include <string>

namespace stint::comm {

// Whether UCX would use this transport for shared memory ("posix", "sysv") under this value of UCX_TLS.
bool selects_transport(const std::string& transports, const std::string& name);

// Empty: UCX of so many processes fits into what is left there, or keeps to something else.
std::string shared_folder_problem(int processes, std::size_t bytes_left, const std::string& transports);
// Of /dev/shm as it is, and UCX_TLS; before any of the processes runs. Throws FinalError on a problem.
void require_shared_folder(int processes);

}  // namespace stint::comm
