// SPDX-License-Identifier: Apache-2.0
// RDMA devices read and write memory that is locked, and a limit on that is the usual surprise on a new
// cluster: told before the first step, with the remedy, instead of by a transfer that fails.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace stint::comm {

// Empty: buffers of so many bytes can be locked under this limit, or there is no need. `root`: where proc and
// sys lie, for tests.
std::string locked_memory_problem(std::size_t bytes, std::uint64_t limit,
                                  const std::filesystem::path& root = "/");
// Raises the soft limit as far as it may be. Throws FinalError on a problem, unless UCX_TLS leaves RDMA out.
void require_locked_memory(std::size_t bytes);

}  // namespace stint::comm
