// SPDX-License-Identifier: Apache-2.0
// The section [health] of stint.conf: what a node must have to be given to a plan. Every message names file,
// line and key.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "base/ini.h"

namespace stint::reservations {

struct HealthRules {
  std::chrono::seconds timeout{20};        // of each check
  int free_memory = 80;                    // percent of Slurm's RealMemory
  std::int64_t free_disk = 1LL << 30;      // bytes, of Slurm's TmpFS
  std::int64_t shared_memory = 1LL << 30;  // bytes, free in /dev/shm
  std::chrono::milliseconds clock{3'000};  // most that it may differ from stintd's
  std::string command;                     // the site's own; empty: none
  bool operator==(const HealthRules&) const = default;
};

// Other sections are not looked at. The keys themselves are known to be legal (load_config).
HealthRules read_health_rules(const IniFile& file);

// "512M", "1G", "2T", "0"; binary units. Throws Error that names the text.
std::int64_t parse_bytes(std::string_view text);

}  // namespace stint::reservations
