// SPDX-License-Identifier: Apache-2.0
// How much memory a process may still take: of the host and of each control group above it that has a limit,
// in cgroup v1 and v2. A process past such a limit is killed, not refused, so it is asked for beforehand.
#pragma once

#include <cstddef>
#include <filesystem>
#include <vector>

namespace stint::comm {

struct MemoryRoom {
  bool of_host = false;   // else of a control group: the job's
  std::size_t left = 0;   // bytes, with what the kernel would give up for them
  std::size_t limit = 0;  // bytes; never more
};

// What cannot be read does not limit. `root`: where proc and sys lie, for tests.
std::vector<MemoryRoom> memory_rooms(const std::filesystem::path& root = "/");

}  // namespace stint::comm
