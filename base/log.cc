// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>

#include <array>
#include <utility>

#include "base/error.h"

namespace stint {
namespace {

spdlog::level::level_enum level_of(const std::string& word) {
  static constexpr std::array<std::pair<const char*, spdlog::level::level_enum>, 5> kLevels = {{
      {"trace", spdlog::level::trace},
      {"debug", spdlog::level::debug},
      {"info", spdlog::level::info},
      {"warn", spdlog::level::warn},
      {"error", spdlog::level::err},
  }};
  for (const auto& [name, level] : kLevels) {
    if (word == name) return level;
  }
  fail("log level '{}' is none of trace, debug, info, warn, error", word);
}

}  // namespace

void start_logging(const std::string& program, const std::string& level) {
  const auto chosen = level_of(level);
  auto logger = std::make_shared<spdlog::logger>(program, std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %n %l: %v");
  logger->set_level(chosen);
  logger->flush_on(spdlog::level::trace);
  spdlog::set_default_logger(std::move(logger));
}

void set_log_level(const std::string& level) {
  spdlog::default_logger()->set_level(level_of(level));
}

}  // namespace stint
