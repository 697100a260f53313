// SPDX-License-Identifier: Apache-2.0
#include "reservations/plan.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/contract.h"
#include "base/error.h"
#include "base/text.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr int kMaxNodes = 65'536;
constexpr seconds kMaxDuration = std::chrono::days{3650};
constexpr std::size_t kMaxUsers = 1'000;

constexpr std::array<std::pair<Phase, std::string_view>, 5> kPhases{{{Phase::kBooking, "booking"},
                                                                     {Phase::kBooked, "booked"},
                                                                     {Phase::kCancelling, "cancelling"},
                                                                     {Phase::kCancelled, "cancelled"},
                                                                     {Phase::kFailed, "failed"}}};

std::int64_t integer_field(const nlohmann::json& value, const std::string& plan, std::string_view field,
                           std::int64_t min, std::int64_t max) {
  if (!value.is_number_integer()) fail("plan {}: {} must be a whole number", plan, field);
  const bool too_large =
      value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(max);
  const auto number = value.get<std::int64_t>();
  if (too_large || number < min || number > max) fail("plan {}: {} must be {} to {}", plan, field, min, max);
  return number;
}

std::vector<std::string> users_field(const nlohmann::json& value, const std::string& plan) {
  if (!value.is_array() || value.size() > kMaxUsers) {
    fail("plan {}: users must be a list of at most {} user names", plan, kMaxUsers);
  }
  std::vector<std::string> users;
  for (const auto& user : value) {
    if (!user.is_string() || user.get<std::string>().empty()) fail("plan {}: a user name is empty", plan);
    const auto name = user.get<std::string>();
    if (std::find(users.begin(), users.end(), name) == users.end()) users.push_back(name);
  }
  return users;
}

std::string name_field(const nlohmann::json& body) {
  if (!body.is_object()) fail("plan: the request must be a JSON object");
  const auto found = body.find("name");
  if (found == body.end() || !found->is_string()) fail("plan: the name is missing");
  auto name = found->get<std::string>();
  check_plan_name(name);
  return name;
}

void parse_field(PlanRequest& request, const std::string& field, const nlohmann::json& value) {
  if (field == "nodes") {
    request.nodes = static_cast<int>(integer_field(value, request.name, field, 1, kMaxNodes));
  } else if (field == "spares") {
    request.spares = static_cast<int>(integer_field(value, request.name, field, 0, kMaxNodes));
  } else if (field == "duration") {
    request.duration =
        seconds{integer_field(value, request.name, "duration in seconds", 60, kMaxDuration.count())};
  } else if (field == "start") {
    if (!value.is_null())
      request.start = sys_seconds{seconds{integer_field(value, request.name, field, 0, 1LL << 40)}};
  } else if (field == "partition") {
    if (!value.is_string()) fail("plan {}: partition must be a name", request.name);
    request.partition = value.get<std::string>();
  } else if (field == "users") {
    request.users = users_field(value, request.name);
  } else if (field == "quote") {
    if (!value.is_boolean()) fail("plan {}: quote must be true or false", request.name);
    request.quote = value.get<bool>();
  } else if (field != "name") {
    fail("plan {}: unknown field '{}'", request.name, field.substr(0, 80));
  }
}

}  // namespace

std::string_view to_string(Phase phase) {
  for (const auto& [value, text] : kPhases) {
    if (value == phase) return text;
  }
  return "?";
}

Phase parse_phase(std::string_view text) {
  for (const auto& [value, name] : kPhases) {
    if (name == text) return value;
  }
  fail("ledger: unknown phase '{}'", text);
}

std::string_view to_string(PlanState state) {
  switch (state) {
    case PlanState::kBooking:
      return "booking";
    case PlanState::kScheduled:
      return "scheduled";
    case PlanState::kActive:
      return "active";
    case PlanState::kExpired:
      return "expired";
    case PlanState::kFailed:
      return "failed";
    case PlanState::kCancelled:
      return "cancelled";
  }
  return "?";
}

bool may_follow(Phase from, Phase to) {
  if (from == to) return true;
  switch (from) {
    case Phase::kBooking:
      return to == Phase::kBooked || to == Phase::kFailed;
    case Phase::kBooked:
      return to == Phase::kCancelling || to == Phase::kFailed;
    case Phase::kCancelling:
      return to == Phase::kCancelled || to == Phase::kBooked;
    case Phase::kCancelled:
    case Phase::kFailed:
      return false;
  }
  return false;
}

PlanState Plan::state_at(sys_seconds now) const {
  if (phase == Phase::kFailed) return PlanState::kFailed;
  if (phase == Phase::kCancelled || phase == Phase::kCancelling) return PlanState::kCancelled;
  if (phase == Phase::kBooking) return PlanState::kBooking;
  if (segments.empty() || now >= segments.back().end) return PlanState::kExpired;
  return now < segments.front().start ? PlanState::kScheduled : PlanState::kActive;
}

bool Plan::live_at(sys_seconds now) const {
  if (phase == Phase::kCancelling) return true;  // its reservations still exist
  const auto state = state_at(now);
  return state == PlanState::kBooking || state == PlanState::kScheduled || state == PlanState::kActive;
}

void check_plan_name(const std::string& name) {
  if (!valid_name(name)) {
    fail("plan: '{}' is no plan name; begin with a letter, then letters, digits, '_' or '-', at most {}",
         name.substr(0, 80), kMaxNameLength);
  }
  if (name == contract::kOptOut) {
    fail("plan: '{}' cannot be a plan's name: --training-plan={} means no plan; take another", name, name);
  }
}

PlanRequest PlanRequest::parse(const nlohmann::json& body) {
  PlanRequest request;
  request.name = name_field(body);
  for (const auto& [field, value] : body.items()) parse_field(request, field, value);
  if (request.nodes == 0) fail("plan {}: nodes is missing", request.name);
  if (request.duration == seconds{}) fail("plan {}: duration is missing", request.name);
  if (request.nodes + request.spares > kMaxNodes) {
    fail("plan {}: nodes and spares together must be at most {}", request.name, kMaxNodes);
  }
  return request;
}

nlohmann::json to_json(const Plan& plan, sys_seconds now, const std::vector<std::string>& lost) {
  nlohmann::json segments = nlohmann::json::array();
  for (const auto& segment : plan.segments) {
    nlohmann::json lost_here = nlohmann::json::array();
    for (const auto& node : segment.nodes) {
      if (std::find(lost.begin(), lost.end(), node) != lost.end()) lost_here.push_back(node);
    }
    segments.push_back({{"reservation", segment.reservation},
                        {"start", segment.start.time_since_epoch().count()},
                        {"end", segment.end.time_since_epoch().count()},
                        {"nodes", segment.nodes},
                        {"lost", lost_here}});
  }
  nlohmann::json json{{"name", plan.name},
                      {"state", to_string(plan.state_at(now))},
                      {"owner", plan.owner},
                      {"users", plan.users},
                      {"partition", plan.partition},
                      {"nodes", plan.nodes},
                      {"spares", plan.spares},
                      {"price",
                       {{"amount", plan.price.amount()},
                        {"currency", plan.price.currency},
                        {"rate", plan.price.rate.format()}}},
                      {"segments", segments},
                      {"switches", plan.switches},
                      {"created", plan.created.time_since_epoch().count()}};
  if (!plan.reason.empty()) json["reason"] = plan.reason;
  return json;
}

PlanRow to_table_row(const Plan& plan, sys_seconds now) {
  PlanRow row;
  row.name = plan.name;
  row.state = to_string(plan.state_at(now));
  row.users = plan.users;
  row.uids = plan.uids;
  row.partition = plan.partition;
  row.nodes = plan.nodes;
  row.spares = plan.spares;
  for (const auto& segment : plan.segments) {
    row.segments.push_back(
        {segment.reservation, segment.start, segment.end, format_host_list(segment.nodes)});
  }
  return row;
}

}  // namespace stint::reservations
