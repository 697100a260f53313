// SPDX-License-Identifier: Apache-2.0
#include "reservations/health_settings.h"

#include "base/error.h"
#include "base/text.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;

constexpr seconds kShortest{1}, kLongest{300};
constexpr std::int64_t kMostUnits = 1'000'000;

seconds time_between(std::string_view text) {
  const auto time = parse_duration(text);
  if (time < kShortest || time > kLongest)
    fail("'{}' is out of range; it lies between {}s and {}s", text, kShortest.count(), kLongest.count());
  return time;
}

void set(HealthRules& rules, const std::string& key, const std::string& value) {
  if (key == "timeout") {
    rules.timeout = time_between(value);
  } else if (key == "free_memory") {
    rules.free_memory = static_cast<int>(parse_integer(value, 0, 100));
  } else if (key == "free_disk") {
    rules.free_disk = parse_bytes(value);
  } else if (key == "shared_memory") {
    rules.shared_memory = parse_bytes(value);
  } else if (key == "clock") {
    rules.clock = time_between(value);
  } else if (key == "command") {
    if (value.empty() || value.front() != '/') fail("'{}' must begin with an absolute path", value);
    rules.command = value;
  }
}

}  // namespace

std::int64_t parse_bytes(std::string_view text) {
  const std::string_view trimmed = trim(text);
  if (trimmed == "0") return 0;
  int shift = 0;
  switch (trimmed.empty() ? ' ' : trimmed.back()) {
    case 'M':
      shift = 20;
      break;
    case 'G':
      shift = 30;
      break;
    case 'T':
      shift = 40;
      break;
    default:
      fail("'{}' is no size; write 512M, 1G, 2T or 0", text);
  }
  return parse_integer(trimmed.substr(0, trimmed.size() - 1), 0, kMostUnits) << shift;
}

HealthRules read_health_rules(const IniFile& file) {
  HealthRules rules;
  for (const auto& entry : file.entries()) {
    if (entry.section != "health") continue;
    try {
      set(rules, entry.key, entry.value);
    } catch (const Error& error) {
      fail("{}'{}': {}", file.where(entry), entry.key, error.what());
    }
  }
  return rules;
}

}  // namespace stint::reservations
