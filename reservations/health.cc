// SPDX-License-Identifier: Apache-2.0
#include "reservations/health.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/gres.h"
#include "base/text.h"

namespace stint::reservations {
namespace {

constexpr std::int64_t kMiB = 1LL << 20;
constexpr double kGiB = 1 << 30;

std::string plain(std::string text) {
  constexpr std::size_t kLongest = 200;
  text.resize(std::min(text.size(), kLongest));
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' ' || c >= 0x7f; }, '?');
  return text;
}

std::string size_text(std::int64_t bytes) {
  return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / kGiB);
}

// The value of " key=" in scontrol's line; empty: it is not there.
std::string field_of(const std::string& line, const std::string& key) {
  const auto begin = line.find(" " + key + "=");
  if (begin == std::string::npos) return {};
  const auto value = begin + key.size() + 2;
  return line.substr(value, line.find_first_of(" \n", value) - value);
}

std::int64_t number_of(const std::string& line, const std::string& key) {
  const auto text = field_of(line, key);
  return text.empty() ? 0 : parse_integer(text, 0, 1LL << 40);
}

std::int64_t kibibytes_of(const std::string& text, const std::string& key) {
  for (const auto& line : split(text, '\n')) {
    if (!line.starts_with(key + ":")) continue;
    const auto number = trim(std::string_view(line).substr(key.size() + 1));
    return parse_integer(number.substr(0, number.find(' ')), 0, 1LL << 50);
  }
  fail("/proc/meminfo has no {}", key);
}

}  // namespace

std::string_view to_string(Health health) {
  switch (health) {
    case Health::kOk:
      return "ok";
    case Health::kBad:
      return "bad";
    case Health::kSkipped:
      return "skipped";
  }
  return "?";
}

bool all_good(const std::vector<Finding>& findings) {
  return std::none_of(findings.begin(), findings.end(),
                      [](const Finding& finding) { return finding.health == Health::kBad; });
}

std::string bad_ones(const std::vector<Finding>& findings) {
  std::string text;
  for (const auto& finding : findings) {
    if (finding.health != Health::kBad) continue;
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", finding.check, finding.found);
  }
  return text;
}

std::string findings_text(const std::string& node, const std::vector<Finding>& findings) {
  std::string text;
  for (const auto& finding : findings) {
    text += fmt::format("{:<8} {:<14} {}\n", to_string(finding.health), finding.check, finding.found);
    if (!finding.remedy.empty()) text += fmt::format("{:<24}{}\n", "", finding.remedy);
  }
  return text + fmt::format("node {}: {}\n", node, all_good(findings) ? "good" : "bad");
}

nlohmann::json to_json(const std::vector<Finding>& findings) {
  auto json = nlohmann::json::array();
  for (const auto& finding : findings) {
    json.push_back({{"name", finding.check},
                    {"verdict", to_string(finding.health)},
                    {"found", finding.found},
                    {"remedy", finding.remedy}});
  }
  return json;
}

std::vector<Finding> parse_findings(const nlohmann::json& body) {
  constexpr std::size_t kMost = 100;
  const auto checks = body.find("checks");
  if (checks == body.end() || !checks->is_array() || checks->size() > kMost)
    fail("findings: 'checks' must be a list of at most {}", kMost);
  std::vector<Finding> findings;
  for (const auto& entry : *checks) {
    const auto text = [&](const char* field) {
      const auto found = entry.is_object() ? entry.find(field) : entry.end();
      if (!entry.is_object() || found == entry.end() || !found->is_string())
        fail("findings: '{}' of each check must be a text", field);
      return plain(found->get<std::string>());
    };
    Finding finding{text("name"), Health::kOk, text("found"), text("remedy")};
    const auto verdict = text("verdict");
    if (verdict == to_string(Health::kBad)) finding.health = Health::kBad;
    if (verdict == to_string(Health::kSkipped)) finding.health = Health::kSkipped;
    findings.push_back(std::move(finding));
  }
  return findings;
}

NodeRecord parse_node_record(const std::string& line) {
  if (!line.starts_with("NodeName=")) fail("'{}' is no node's record", line.substr(0, 80));
  NodeRecord record;
  record.cpus = static_cast<int>(number_of(line, "CPUTot"));
  const auto gres = field_of(line, "Gres");
  record.gpus = gres == "(null)" ? 0 : count_gpus(gres);
  record.memory = number_of(line, "RealMemory") * kMiB;
  record.tmp_disk = number_of(line, "TmpDisk") * kMiB;
  record.in_use = number_of(line, "CPUAlloc") > 0;
  return record;
}

Memory parse_meminfo(const std::string& text) {
  return {kibibytes_of(text, "MemTotal") * 1024, kibibytes_of(text, "MemAvailable") * 1024};
}

Finding judge_memory(const NodeRecord& record, const Memory& memory, int free_percent, bool alone) {
  const auto wanted = record.memory / 100 * free_percent;
  if (memory.total < record.memory) {
    return {"memory", Health::kBad,
            fmt::format("{} of the {} that Slurm expects", size_text(memory.total), size_text(record.memory)),
            "look for a failed module; or correct RealMemory in slurm.conf"};
  }
  if (alone && memory.available < wanted) {
    return {
        "memory", Health::kBad,
        fmt::format("{} are free of {}, wants {} % of the {} that Slurm expects", size_text(memory.available),
                    size_text(memory.total), free_percent, size_text(record.memory)),
        "look for processes and files in /dev/shm that a job has left behind; see [health] free_memory"};
  }
  return {"memory",
          Health::kOk,
          fmt::format("{}, {} free{}", size_text(memory.total), size_text(memory.available),
                      alone ? "" : " (not judged: jobs run here)"),
          {}};
}

Finding judge_cpus(const NodeRecord& record, int online) {
  if (online < record.cpus) {
    return {"cpus", Health::kBad, fmt::format("{} of the {} that Slurm expects", online, record.cpus),
            "look for CPUs that are offline (lscpu), or correct CPUs in slurm.conf"};
  }
  return {"cpus", Health::kOk, fmt::format("{}, Slurm expects {}", online, record.cpus), {}};
}

Finding judge_disk(const NodeRecord& record, const std::string& folder, std::int64_t size, std::int64_t free,
                   std::int64_t wanted) {
  if (size < record.tmp_disk) {
    return {"disk", Health::kBad,
            fmt::format("{} has {}, Slurm expects {}", folder, size_text(size), size_text(record.tmp_disk)),
            "see whether the right file system is mounted there, or correct TmpDisk in slurm.conf"};
  }
  if (free < wanted) {
    return {"disk", Health::kBad,
            fmt::format("{} has {} free, wants {}", folder, size_text(free), size_text(wanted)),
            "remove what jobs have left behind; see [health] free_disk"};
  }
  return {"disk", Health::kOk, fmt::format("{} has {} free", folder, size_text(free)), {}};
}

Finding judge_shared_memory(std::int64_t free, std::int64_t wanted) {
  if (free < wanted) {
    return {"shared memory", Health::kBad,
            fmt::format("/dev/shm has {} free, wants {}", size_text(free), size_text(wanted)),
            "remove what jobs have left behind, or mount it larger; see [health] shared_memory"};
  }
  return {"shared memory", Health::kOk, fmt::format("/dev/shm has {} free", size_text(free)), {}};
}

Finding judge_clock(std::chrono::milliseconds off, std::chrono::milliseconds sure,
                    std::chrono::milliseconds limit) {
  const auto least =
      std::chrono::milliseconds{std::max<std::int64_t>(0, std::abs(off.count()) - sure.count())};
  const double seconds = static_cast<double>(off.count()) / 1000;
  if (least > limit) {
    return {"clock", Health::kBad,
            fmt::format("{:.1f} s {} stintd's", std::abs(seconds), seconds > 0 ? "ahead of" : "behind"),
            "see whether NTP runs here and on the controller (chronyc tracking)"};
  }
  return {"clock", Health::kOk, fmt::format("{:+.1f} s from stintd's", seconds), {}};
}

Finding judge_gpus(const NodeRecord& record, int devices, std::optional<int> listed) {
  if (record.gpus == 0) return {"gpus", Health::kSkipped, "Slurm's record of the node has none", {}};
  if (devices == 0 && !listed) {
    return {"gpus",
            Health::kSkipped,
            fmt::format("Slurm expects {}, and there is no NVIDIA driver to ask", record.gpus),
            {}};
  }
  const int there = listed ? std::min(*listed, devices) : devices;
  if (there < record.gpus) {
    return {"gpus", Health::kBad,
            fmt::format("{} of the {} that Slurm expects ({} devices, nvidia-smi lists {})", there,
                        record.gpus, devices, listed ? std::to_string(*listed) : "none: it is not there"),
            "see nvidia-smi and the kernel's log for Xid errors; a reset or a reboot may bring it back"};
  }
  return {"gpus", Health::kOk, fmt::format("{}, Slurm expects {}", there, record.gpus), {}};
}

}  // namespace stint::reservations
