// SPDX-License-Identifier: Apache-2.0
#include "reservations/settings.h"

#include <fmt/format.h>
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/text.h"

namespace stint::reservations {
namespace {

using std::chrono::milliseconds;

constexpr int kMaxNodes = 65'536;
constexpr int kMaxPlans = 10'000;
constexpr int kMaxThreads = 256;
constexpr std::chrono::seconds kShortestOpening{30};

void set_listen(Settings& settings, const std::string& address) {
  const HostPort target = parse_host_port(address);
  settings.listen_host = target.host;
  settings.listen_port = target.port;
}

// Of several addresses one is this host's, whichever that is.
std::string default_listen(const std::string& address) {
  const auto targets = parse_addresses(address);
  if (targets.size() == 1) return address;
  const int port = targets.front().port;
  for (const HostPort& target : targets) {
    if (target.port != port)
      fail("[stintd] address: '{}' has different ports; set listen on each of these hosts", address);
  }
  return fmt::format("0.0.0.0:{}", port);
}

std::vector<std::string> names_in(std::string_view text) {
  auto names = split(text, ',');
  for (const auto& name : names) {
    if (name.empty()) fail("'{}' has an empty name; write a,b,c", text);
  }
  return names;
}

// "users:alice, bob accounts:physics": a part lasts until the next word that begins one.
std::vector<std::string> parts_of(std::string_view text) {
  std::vector<std::string> parts;
  for (const auto& word : split(text, ' ')) {
    const bool goes_on = !parts.empty() && (parts.back().ends_with(',') || word.starts_with(','));
    if (goes_on) {
      parts.back() += word;
    } else if (!word.empty()) {
      parts.push_back(word);
    }
  }
  return parts;
}

void add_names(std::vector<std::string>& names, std::string_view text) {
  for (auto& name : names_in(text)) names.push_back(std::move(name));
}

// The names alone are users, as they always were.
Who parse_approvers(std::string_view text) {
  const auto parts = parts_of(text);
  const bool bare = parts.size() == 1 && parts[0].find(':') == std::string::npos;
  const bool word = bare && (parts[0] == "operators" || parts[0] == "everyone" || parts[0] == "coordinators");
  return bare && !word ? Who{false, names_in(parts[0]), {}, false} : parse_who(text);
}

std::string one_of(const std::string& text, const std::vector<std::string>& words) {
  if (std::find(words.begin(), words.end(), text) == words.end())
    fail("'{}' is none of {}", text, fmt::join(words, ", "));
  return text;
}

std::string absolute_path(const std::string& text) {
  if (text.empty() || text.front() != '/') fail("'{}' must be an absolute path", text);
  return text;
}

// 0, or long enough that there is time to do something.
std::chrono::seconds time_before(const std::string& text) {
  if (trim(text) == "0") return std::chrono::seconds{0};
  const auto time = parse_duration(text);
  if (time < kShortestOpening)
    fail("'{}' is too short; write 0 (never) or at least {}s", text, kShortestOpening.count());
  return time;
}

using Setter = std::function<void(Settings&, const std::string&)>;

const std::map<std::string, Setter>& setters() {
  static const std::map<std::string, Setter> kSetters{
      {"stintd.listen", set_listen},
      {"stintd.ledger", [](Settings& s, const std::string& v) { s.ledger = absolute_path(v); }},
      {"stintd.log_level",
       [](Settings& s, const std::string& v) {
         s.log_level = one_of(v, {"trace", "debug", "info", "warn", "error"});
       }},
      {"stintd.probe_interval",
       [](Settings& s, const std::string& v) {
         s.probe_interval = parse_short_time(v, milliseconds{100}, milliseconds{60'000});
       }},
      {"stintd.probe_timeout",
       [](Settings& s, const std::string& v) {
         s.probe_timeout = parse_short_time(v, milliseconds{100}, milliseconds{30'000});
       }},
      {"stintd.probes_needed",
       [](Settings& s, const std::string& v) {
         s.probes_needed = static_cast<int>(parse_integer(v, 2, 100));
       }},
      {"stintd.restart_grace",
       [](Settings& s, const std::string& v) {
         s.restart_grace = parse_short_time(v, milliseconds{0}, milliseconds{600'000});
       }},
      {"stintd.threads",
       [](Settings& s, const std::string& v) {
         s.threads = static_cast<int>(parse_integer(v, 1, kMaxThreads));
       }},
      {"policy.book", [](Settings& s, const std::string& v) { s.policy.book = parse_who(v); }},
      {"policy.max_nodes",
       [](Settings& s, const std::string& v) {
         s.policy.max_nodes = static_cast<int>(parse_integer(v, 0, kMaxNodes));
       }},
      {"policy.max_plans",
       [](Settings& s, const std::string& v) {
         s.policy.max_plans = static_cast<int>(parse_integer(v, 0, kMaxPlans));
       }},
      {"policy.approve_above_nodes",
       [](Settings& s, const std::string& v) {
         s.policy.approve_above_nodes = static_cast<int>(parse_integer(v, 0, kMaxNodes));
       }},
      {"policy.approve_above_price",
       [](Settings& s, const std::string& v) { s.policy.approve_above_cents = parse_amount(v); }},
      {"policy.approvers",
       [](Settings& s, const std::string& v) { s.policy.approvers = parse_approvers(v); }},
      {"policy.max_duration",
       [](Settings& s, const std::string& v) { s.policy.max_duration = parse_duration(v); }},
      {"policy.min_lead", [](Settings& s, const std::string& v) { s.policy.min_lead = parse_duration(v); }},
      {"policy.max_lead", [](Settings& s, const std::string& v) { s.policy.max_lead = parse_duration(v); }},
      {"policy.warn_before",
       [](Settings& s, const std::string& v) { s.policy.warn_before = parse_duration(v); }},
      {"policy.keep_jobs", [](Settings& s, const std::string& v) { s.policy.keep_jobs = parse_duration(v); }},
      {"policy.release_idle_after",
       [](Settings& s, const std::string& v) { s.policy.release_idle_after = parse_duration(v); }},
      {"policy.release_notice",
       [](Settings& s, const std::string& v) { s.policy.release_notice = parse_duration(v); }},
      {"policy.prepare_before",
       [](Settings& s, const std::string& v) { s.policy.prepare_before = time_before(v); }},
      {"policy.allowed_partitions",
       [](Settings& s, const std::string& v) { s.policy.allowed_partitions = names_in(v); }},
      {"policy.allowed_features",
       [](Settings& s, const std::string& v) { s.policy.allowed_features = names_in(v); }},
      {"policy.exceed_max_time",
       [](Settings& s, const std::string& v) { s.policy.exceed_max_time = parse_bool(v); }},
  };
  return kSetters;
}

}  // namespace

Who parse_who(std::string_view text) {
  constexpr std::string_view kUsers = "users:", kAccounts = "accounts:";
  Who who;
  const auto parts = parts_of(text);
  for (const auto& part : parts) {
    if (part == "everyone" && parts.size() == 1) {
      who.everyone = true;
    } else if (part == "operators" && parts.size() == 1) {
      // they always may
    } else if (part == "coordinators") {
      who.coordinators = true;
    } else if (part.starts_with(kUsers)) {
      add_names(who.users, std::string_view(part).substr(kUsers.size()));
    } else if (part.starts_with(kAccounts)) {
      add_names(who.accounts, std::string_view(part).substr(kAccounts.size()));
    } else {
      fail("'{}' is none of operators, everyone (each alone), users:a,b, accounts:x,y, coordinators", part);
    }
  }
  if (parts.empty()) fail("is empty; write operators, or who may besides");
  return who;
}

milliseconds parse_short_time(std::string_view text, milliseconds min, milliseconds max) {
  const std::string_view trimmed = trim(text);
  double scale = 0;
  std::string_view number = trimmed;
  if (trimmed.ends_with("ms")) {
    scale = 1;
    number.remove_suffix(2);
  } else if (trimmed.ends_with("s")) {
    scale = 1000;
    number.remove_suffix(1);
  }
  if (scale == 0) fail("'{}' is no time; write 500ms or 0.5s", text);
  const double value = parse_real(number, 0, 1e9) * scale;
  const milliseconds time{std::llround(value)};
  if (time < min || time > max)
    fail("'{}' is out of range; it lies between {}ms and {}ms", text, min.count(), max.count());
  return time;
}

Settings read_settings(const Config& config) {
  Settings settings;
  for (const auto& entry : config.file.entries()) {
    const auto setter = setters().find(entry.section + "." + entry.key);
    if (setter == setters().end()) continue;  // read by base or by another program
    try {
      setter->second(settings, entry.value);
    } catch (const Error& error) {
      fail("{}'{}': {}", config.file.where(entry), entry.key, error.what());
    }
  }
  if (settings.listen_port == 0) set_listen(settings, default_listen(config.address));
  if (settings.policy.min_lead > settings.policy.max_lead)
    fail("[policy] min_lead is longer than max_lead ({}): nothing could be booked",
         format_duration(settings.policy.max_lead));
  settings.money = read_money_rules(config.file);
  settings.notices = read_notice_settings(config.file);
  settings.health = read_health_rules(config.file);
  return settings;
}

}  // namespace stint::reservations
