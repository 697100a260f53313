// SPDX-License-Identifier: Apache-2.0
// Is a node fit for a plan? Pure: what was measured and what Slurm's record of the node promises in, findings
// out. Knows neither how it is measured nor who asks.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "reservations/health_settings.h"

namespace stint::reservations {

enum class Health { kOk, kBad, kSkipped };

std::string_view to_string(Health health);

struct Finding {
  std::string check;  // memory, cpus, …
  Health health = Health::kOk;
  std::string found;   // one line, for people
  std::string remedy;  // what to do where it is bad; else empty
};

bool all_good(const std::vector<Finding>& findings);
// The bad ones in one line: "memory: …; disk: …".
std::string bad_ones(const std::vector<Finding>& findings);
std::string findings_text(const std::string& node, const std::vector<Finding>& findings);
nlohmann::json to_json(const std::vector<Finding>& findings);
// Of {checks: […]}, as another machine sent it; throws Error that names the field. Texts are made fit for a
// log: one line, bounded.
std::vector<Finding> parse_findings(const nlohmann::json& body);

// What Slurm expects of the node.
struct NodeRecord {
  int cpus = 0;
  int gpus = 0;
  std::int64_t memory = 0;    // bytes, RealMemory
  std::int64_t tmp_disk = 0;  // bytes, TmpDisk
  bool in_use = false;        // jobs have CPUs of it
};

// A line of `scontrol --oneliner show node`; throws Error where it is none.
NodeRecord parse_node_record(const std::string& line);

struct Memory {
  std::int64_t total = 0;      // bytes
  std::int64_t available = 0;  // without swapping
};
// /proc/meminfo; throws Error.
Memory parse_meminfo(const std::string& text);

// `alone`: nothing but the check itself runs there, so that memory must be free.
Finding judge_memory(const NodeRecord& record, const Memory& memory, int free_percent, bool alone);
Finding judge_cpus(const NodeRecord& record, int online);
Finding judge_disk(const NodeRecord& record, const std::string& folder, std::int64_t size, std::int64_t free,
                   std::int64_t wanted);
Finding judge_shared_memory(std::int64_t free, std::int64_t wanted);
// `off`: this clock less the other; `sure`: known to that much.
Finding judge_clock(std::chrono::milliseconds off, std::chrono::milliseconds sure,
                    std::chrono::milliseconds limit);
// Devices under /dev, and GPUs that the driver's tool lists; none: there is no such tool.
Finding judge_gpus(const NodeRecord& record, int devices, std::optional<int> listed);

}  // namespace stint::reservations
