// SPDX-License-Identifier: Apache-2.0
// Logging of the long-running programs, on spdlog: to stderr, "2026-11-23T18:00:00.123 stintd info: …".
#pragma once

#include <spdlog/spdlog.h>

#include <string>

namespace stint {

// Call once from main. level: trace, debug, info, warn, error; throws Error on another word.
void start_logging(const std::string& program, const std::string& level);
// From now on; likewise.
void set_log_level(const std::string& level);

}  // namespace stint
