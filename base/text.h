// SPDX-License-Identifier: Apache-2.0
// Text that people write, as typed values: times, durations, sizes, names. Pure; throws Error that names
// the value and the accepted form.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace stint {

// "90s", "15m", "2h", "1d", "1h30m", Slurm's "minutes", "mm:ss", "hh:mm:ss", "d-hh[:mm[:ss]]".
// A bare number is minutes, as everywhere in Slurm. Refuses zero, negative and more than 10 years.
std::chrono::seconds parse_duration(std::string_view text);

// "now", "now+2h", "18:00" (today or tomorrow), "friday 18:00", "tomorrow 9:00", "2026-11-23T18:00[:00]"; a
// day without a time is its midnight. Local time, relative to `now`.
std::chrono::sys_seconds parse_time(std::string_view text, std::chrono::sys_seconds now);

// "1-06:00:00" / "06:30:00": Slurm's own form.
std::string format_duration(std::chrono::seconds duration);
// "2026-11-23T18:00:00" local time.
std::string format_time(std::chrono::sys_seconds time);

std::int64_t parse_integer(std::string_view text, std::int64_t min, std::int64_t max);
double parse_real(std::string_view text, double min, double max);
bool parse_bool(std::string_view text);  // yes/no/true/false/on/off/1/0

// A plan or offer name: [A-Za-z][A-Za-z0-9_-]{0,31}. Short enough for "segment <plan>.<k>" to be a section
// name of an INI file, which inih cuts at 49 bytes.
inline constexpr std::size_t kMaxNameLength = 32;
bool valid_name(std::string_view text);

// "head:6821", "[::1]:6821": the host stands there without its brackets. Throws Error.
struct HostPort {
  std::string host;
  int port = 0;
};
HostPort parse_host_port(std::string_view text);

std::vector<std::string> split(std::string_view text, char separator);  // trims each part, keeps empty ones
std::string_view trim(std::string_view text);

// Slurm host lists in their common form: "node[1-3,7],gpu01" <-> {"node1","node2",…}. Zero padding is kept.
// parse throws on malformed text and on more than 65,536 hosts, keeps order and duplicates; format gives the
// set: hosts of one prefix together, their numbers sorted, each once.
std::vector<std::string> parse_host_list(std::string_view text);
std::string format_host_list(const std::vector<std::string>& hosts);

}  // namespace stint
