// SPDX-License-Identifier: Apache-2.0
#include "base/config.h"

#include <pwd.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/contract.h"
#include "base/error.h"
#include "base/text.h"

namespace stint {
namespace {

constexpr double kLeastTflops = 1e-6;
constexpr double kMostTflops = 1e9;

struct SectionKeys {
  std::string section;
  std::vector<std::string> keys;
};

// Every key that any program reads from stint.conf. "price NAME" stands for every [price …] with a name.
const std::vector<SectionKeys>& legal_keys() {
  static const std::vector<SectionKeys> kKeys = {
      {"stintd",
       {"address", "listen", "user", "ledger", "log_level", "probe_interval", "probe_timeout",
        "probes_needed", "restart_grace", "threads"}},
      {"munge", {"socket"}},
      {"recipes", {"path", "node_tflops"}},
      {"policy",
       {"book", "approve_above_nodes", "approve_above_price", "approvers", "max_nodes", "max_plans",
        "max_duration", "min_lead", "max_lead", "allowed_partitions", "allowed_features", "exceed_max_time",
        "warn_before", "keep_jobs", "release_idle_after", "release_notice", "prepare_before"}},
      {"notices", {"mail", "mail_domain", "command", "send", "soon", "ending", "timeout"}},
      {"health", {"timeout", "free_memory", "free_disk", "shared_memory", "clock", "command"}},
      {"price", {"node_hour", "gpu_hour", "currency"}},
      {"price NAME", {"partition", "features", "hours", "days", "node_hour", "gpu_hour", "percent"}},
      {"discount NAME", {"min_duration", "min_lead", "min_node_hours", "percent"}},
      {"refund", {"before", "after_start"}},
      {"budget", {"amount", "period", "contacts"}},
      {"budget NAME", {"amount", "period", "contacts"}},
  };
  return kKeys;
}

std::string suggestion(const std::string& word, const std::vector<std::string>& candidates) {
  const std::string close = did_you_mean(word, candidates);
  return close.empty() ? std::string() : fmt::format("; did you mean '{}'?", close);
}

const SectionKeys* find_section(const std::string& section) {
  const auto& all = legal_keys();
  const auto space = section.find(' ');
  const std::string name = space == std::string::npos ? section : section.substr(0, space) + " NAME";
  const auto at =
      std::find_if(all.begin(), all.end(), [&](const SectionKeys& s) { return s.section == name; });
  return at == all.end() ? nullptr : &*at;
}

void check_sections(const IniFile& file) {
  std::vector<std::string> names;
  for (const SectionKeys& section : legal_keys()) names.push_back(section.section);
  for (const std::string& name : file.sections()) {
    if (find_section(name)) continue;
    const auto first = std::find_if(file.entries().begin(), file.entries().end(),
                                    [&](const IniEntry& entry) { return entry.section == name; });
    const std::string where = first == file.entries().end() ? file.name() + ": " : file.where(*first);
    fail("{}unknown section [{}]{}", where, name, suggestion(name, names));
  }
}

void check_keys(const IniFile& file) {
  for (const IniEntry& entry : file.entries()) {
    const std::vector<std::string>& keys = find_section(entry.section)->keys;
    if (std::find(keys.begin(), keys.end(), entry.key) != keys.end()) continue;
    fail("{}unknown key '{}' in [{}]{}", file.where(entry), entry.key, entry.section,
         suggestion(entry.key, keys));
  }
}

// None when there is no such user.
std::vector<std::uint32_t> uid_of(const std::string& user) {
  std::vector<char> buffer(16384);
  passwd entry{};
  passwd* found = nullptr;
  const int status = ::getpwnam_r(user.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (status != 0 && status != ENOENT) fail("user '{}' cannot be looked up: {}", user, errno_text(status));
  if (!found) return {};
  return {static_cast<std::uint32_t>(found->pw_uid)};
}

void set_server_uids(Config& config, const std::string& user, bool named) {
  config.server_uids = uid_of(user);
  if (config.server_uids.empty() && named) fail("no user '{}' on this machine", user);
  if (std::find(config.server_uids.begin(), config.server_uids.end(), 0U) == config.server_uids.end()) {
    config.server_uids.push_back(0);
  }
}

void set_key(Config& config, const IniEntry& entry) {
  const std::string name = entry.section + "." + entry.key;
  if (name == "stintd.address") {
    parse_addresses(entry.value);
    config.address = entry.value;
  } else if (name == "stintd.user") {
    set_server_uids(config, entry.value, true);
  } else if (name == "munge.socket") {
    config.munge_socket = entry.value;
  } else if (name == "recipes.node_tflops") {
    config.node_tflops = parse_real(entry.value, kLeastTflops, kMostTflops);
  } else if (name == "recipes.path") {
    for (const std::string& folder : split(entry.value, ':')) {
      if (!folder.empty()) config.recipe_path.push_back(folder);
    }
  }
}

// The path to read; empty: none, defaults hold.
std::string choose_path(const std::string& explicit_path) {
  if (!explicit_path.empty()) return explicit_path;
  if (const char* path = std::getenv(contract::kConfigEnv); path && *path) return path;
  return ::access(contract::kConfigPath, F_OK) == 0 ? contract::kConfigPath : "";
}

}  // namespace

std::vector<HostPort> parse_addresses(std::string_view address) {
  std::vector<HostPort> targets;
  for (const std::string& part : split(address, ',')) targets.push_back(parse_host_port(part));
  return targets;
}

Config load_config(const std::string& explicit_path) {
  Config config;
  config.address = "localhost:6821";
  set_server_uids(config, "slurm", false);
  config.path = choose_path(explicit_path);
  if (config.path.empty()) return config;
  config.file = IniFile::load(config.path);
  check_sections(config.file);
  check_keys(config.file);
  for (const IniEntry& entry : config.file.entries()) {
    try {
      set_key(config, entry);
    } catch (const Error& error) {
      fail("{}'{}': {}", config.file.where(entry), entry.key, error.what());
    }
  }
  return config;
}

}  // namespace stint
