// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/memory_room.h"

#include <cstdint>
#include <fstream>
#include <map>
#include <optional>
#include <string>

namespace stint::comm {
namespace {

// Names and numbers in turn, as in meminfo and memory.stat; units and what else stands there is passed over.
std::map<std::string, std::uint64_t> numbers_in(const std::filesystem::path& name) {
  std::map<std::string, std::uint64_t> numbers;
  std::ifstream file(name);
  for (std::string line; std::getline(file, line);) {
    const std::size_t space = line.find(' ');
    const std::size_t digits = line.find_first_of("0123456789", space);
    if (space == std::string::npos || digits == std::string::npos) continue;
    numbers[line.substr(0, space)] = std::strtoull(line.c_str() + digits, nullptr, 10);
  }
  return numbers;
}

// Nothing for "max", or where there is no such file.
std::optional<std::uint64_t> number_in(const std::filesystem::path& name) {
  std::ifstream file(name);
  std::uint64_t number = 0;
  return file >> number ? std::optional(number) : std::nullopt;
}

struct Names {
  const char *limit, *usage, *reclaimable;
};
constexpr Names kVersion1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};
constexpr Names kVersion2{"memory.max", "memory.current", "inactive_file"};

void add_group(const std::filesystem::path& folder, const Names& names, std::vector<MemoryRoom>& rooms) {
  const auto limit = number_in(folder / names.limit), usage = number_in(folder / names.usage);
  if (!limit || !usage) return;
  const std::uint64_t reclaimable = numbers_in(folder / "memory.stat")[names.reclaimable];
  const std::uint64_t used = *usage > reclaimable ? *usage - reclaimable : 0;
  rooms.push_back({false, *limit > used ? *limit - used : 0, *limit});
}

void add_groups(const std::filesystem::path& tree, std::filesystem::path group, const Names& names,
                std::vector<MemoryRoom>& rooms) {
  for (;; group = group.parent_path()) {
    add_group(tree / group.relative_path(), names, rooms);
    if (!group.has_relative_path()) return;
  }
}

}  // namespace

std::vector<MemoryRoom> memory_rooms(const std::filesystem::path& root) {
  std::vector<MemoryRoom> rooms;
  auto host = numbers_in(root / "proc/meminfo");
  if (host.contains("MemAvailable:"))
    rooms.push_back({true, host["MemAvailable:"] * 1024, host["MemTotal:"] * 1024});
  const auto groups = root / "sys/fs/cgroup";
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {  // number:controllers:path
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string path = line.substr(second + 1);
    if (controllers == ",,") add_groups(groups, path, kVersion2, rooms);
    if (controllers.find(",memory,") != std::string::npos)
      add_groups(groups / "memory", path, kVersion1, rooms);
  }
  return rooms;
}

}  // namespace stint::comm
