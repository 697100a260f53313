// SPDX-License-Identifier: Apache-2.0
#include "spank/job_environment.h"

#include <cstring>
#include <string_view>

#include "base/contract.h"
#include "base/error.h"
#include "base/text.h"

namespace stint::spank {
namespace {

constexpr std::string_view kPlanOptionName = "_SLURM_SPANK_OPTION_stint_training_plan";
constexpr std::size_t kMaxEntryBytes = 512;
constexpr std::size_t kMaxRecipeName = 64, kHashDigits = 8;
constexpr std::int64_t kMaxNodes = 65536, kMaxMinutes = 10LL * 366 * 24 * 60;

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool consists_of(std::string_view text, std::string_view marks) {
  for (const char c : text) {
    if (!is_letter(c) && !is_digit(c) && marks.find(c) == std::string_view::npos) return false;
  }
  return !text.empty();
}

// What may be shown of a text that can hold anything.
std::string shown(std::string_view text) {
  std::string safe(text.substr(0, 64));
  for (char& c : safe) {
    if (c < ' ' || c > '~') c = '?';
  }
  return safe;
}

std::string plan_of(std::string_view value) {
  if (value == contract::kOptOut) return {};
  if (!valid_name(value)) {
    fail("--{}: '{}' is no plan name; see 'stint plan list'", contract::kPlanOption, shown(value));
  }
  return std::string(value);
}

std::string recipe_of(std::string_view value) {
  const std::size_t at = value.rfind('@');
  const std::string_view name = value.substr(0, at);
  const std::string_view hash = at == std::string_view::npos ? std::string_view() : value.substr(at + 1);
  if (!consists_of(name, "._+-") || name.size() > kMaxRecipeName || hash.size() != kHashDigits ||
      hash.find_first_not_of("0123456789abcdef") != std::string_view::npos) {
    fail("--{}: '{}' is no recipe name with its hash (letters, digits and . _ + - only); rename the recipe",
         contract::kRecipeOption, shown(value));
  }
  return std::string(value);
}

std::string gres_of(std::string_view value) {
  if (!consists_of(value, "_:.,()/=-")) fail("recipe: gres '{}' is not Slurm's form", shown(value));
  return std::string(value);
}

std::int64_t number_of(const char* what, std::string_view value, std::int64_t max) {
  try {
    return parse_integer(value, 1, max);
  } catch (const Error&) {
    fail("recipe: {} '{}' is no number from 1 to {}", what, shown(value), max);
  }
}

void take(JobEnvironment& job, std::string_view name, std::string_view value) {
  if (name == kPlanOptionName) {
    job.plan = plan_of(value);
  } else if (name == contract::kControlRecipe) {
    job.recipe = recipe_of(value);
  } else if (name == contract::kControlNodes) {
    job.nodes = static_cast<std::uint32_t>(number_of("nodes", value, kMaxNodes));
  } else if (name == contract::kControlGres) {
    job.gres = gres_of(value);
  } else if (name == contract::kControlTimeLimit) {
    job.time_limit = std::chrono::minutes(number_of("time limit", value, kMaxMinutes));
  }
}

bool is_ours(std::string_view name) {
  return name == kPlanOptionName || name == contract::kControlRecipe || name == contract::kControlNodes ||
         name == contract::kControlGres || name == contract::kControlTimeLimit;
}

std::string_view without_prefix(std::string_view entry) {
  constexpr std::string_view kPrefix = "SPANK_";
  if (entry.starts_with(kPrefix)) entry.remove_prefix(kPrefix.size());
  return entry;
}

}  // namespace

JobEnvironment parse_job_environment(const char* const* entries, std::uint32_t count) {
  JobEnvironment job;
  if (!entries) return job;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!entries[i]) continue;
    const std::string_view entry = without_prefix({entries[i], ::strnlen(entries[i], kMaxEntryBytes + 1)});
    const std::size_t equals = entry.find('=');
    if (equals == std::string_view::npos || !is_ours(entry.substr(0, equals))) continue;
    if (entry.size() >= kMaxEntryBytes) fail("{}: is too long", shown(entry.substr(0, equals)));
    take(job, entry.substr(0, equals), entry.substr(equals + 1));
  }
  return job;
}

bool has_variable(const char* const* entries, std::uint32_t count, const std::string& name) {
  for (std::uint32_t i = 0; entries && i < count; ++i) {
    if (entries[i] && std::strncmp(entries[i], name.c_str(), name.size()) == 0 &&
        entries[i][name.size()] == '=')
      return true;
  }
  return false;
}

}  // namespace stint::spank
