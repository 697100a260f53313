// SPDX-License-Identifier: Apache-2.0
// stintd's own part of stint.conf, checked before anything starts. Every message names file, line and key.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/config.h"
#include "reservations/health_settings.h"
#include "reservations/money_settings.h"
#include "reservations/notice_settings.h"

namespace stint::reservations {

// Who may do something, beside operators.
struct Who {
  bool everyone = false;
  std::vector<std::string> users;
  std::vector<std::string> accounts;  // their members
  bool coordinators = false;          // of the account in question
  bool operator==(const Who&) const = default;
};

// "operators", "everyone", or any of "users:a,b accounts:x,y coordinators". Throws Error that names the part.
Who parse_who(std::string_view text);

// [policy]: who may book, and how much.
struct Policy {
  Who book;
  std::optional<int> approve_above_nodes;           // spares included; larger plans wait for approval
  std::optional<std::int64_t> approve_above_cents;  // dearer ones too
  Who approvers;
  int max_nodes = 0;                                       // of one plan, spares included; 0: no limit
  int max_plans = 100;                                     // live ones of one owner; 0: no limit
  std::chrono::seconds max_duration{};                     // 0: no limit
  std::chrono::seconds min_lead{};                         // from booking to the start
  std::chrono::seconds max_lead = std::chrono::days{366};  // how far ahead a plan may start
  std::vector<std::string> allowed_partitions;             // empty: all
  std::vector<std::string> allowed_features;               // a node needs one of these; empty: all nodes
  bool exceed_max_time = true;                             // running jobs have all of their segment
  std::chrono::seconds warn_before{60};                    // a segment's end, jobs without a recipe
  std::chrono::seconds keep_jobs = std::chrono::hours{1};  // that wait when their plan is over
  std::optional<std::chrono::seconds> release_idle_after;  // none: idle plans are kept
  std::chrono::seconds release_notice = std::chrono::minutes{15};  // before that
  std::chrono::seconds prepare_before = std::chrono::minutes{10};  // a segment's start: its opening; 0: none
  bool operator==(const Policy&) const = default;
};

struct Settings {
  std::string listen_host;  // [stintd] listen, else the host of its address
  int listen_port = 0;
  std::string ledger = "/var/lib/stint/ledger.db";
  std::string log_level = "info";
  std::chrono::milliseconds probe_interval{500};
  std::chrono::milliseconds probe_timeout{1000};
  int probes_needed = 2;  // bad answers in a row of a dead node
  std::chrono::milliseconds restart_grace{10'000};
  int threads = 32;  // of the HTTP server
  Policy policy;
  MoneyRules money;
  NoticeSettings notices;
  HealthRules health;
  bool operator==(const Settings&) const = default;
};

Settings read_settings(const Config& config);

// "500ms", "0.5s", "2s"; throws Error that names the text.
std::chrono::milliseconds parse_short_time(std::string_view text, std::chrono::milliseconds min,
                                           std::chrono::milliseconds max);

}  // namespace stint::reservations
