// SPDX-License-Identifier: Apache-2.0
// What is asked for when a plan is to change, as it comes over HTTP. parse() throws Error that names the plan
// and the field: wrong type, missing, out of range, unknown.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace stint::reservations {

// {duration} | {until} | {nodes?, spares?} | {offer}
struct ExtendRequest {
  std::string offer;  // an id: take it
  std::chrono::seconds duration{};
  std::optional<std::chrono::sys_seconds> until;
  std::optional<int> nodes;   // altogether
  std::optional<int> spares;  // altogether

  static ExtendRequest parse(const std::string& plan, const nlohmann::json& body);
};

// {until | nodes?, spares?, quote?}
struct ShrinkRequest {
  std::optional<std::chrono::sys_seconds> until;
  std::optional<int> nodes;   // that are left
  std::optional<int> spares;  // that are left
  bool quote = false;

  static ShrinkRequest parse(const std::string& plan, const nlohmann::json& body);
};

// {add?, remove?, add_accounts?, remove_accounts?}
struct ShareRequest {
  std::vector<std::string> add;  // users
  std::vector<std::string> remove;
  std::vector<std::string> add_accounts;
  std::vector<std::string> remove_accounts;

  static ShareRequest parse(const std::string& plan, const nlohmann::json& body);
};

// {force?, quote?}
struct CancelRequest {
  bool force = false;  // end its jobs first
  bool quote = false;  // only say what would be given back

  static CancelRequest parse(const std::string& plan, const nlohmann::json& body);
};

// {to}
std::string parse_transfer(const std::string& plan, const nlohmann::json& body);

}  // namespace stint::reservations
