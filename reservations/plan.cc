// SPDX-License-Identifier: Apache-2.0
#include "reservations/plan.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/contract.h"
#include "base/error.h"
#include "base/text.h"
#include "reservations/json_fields.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr int kMaxNodes = 65'536;
constexpr int kMaxGpus = 1'024;
constexpr seconds kMaxDuration = std::chrono::days{3650};

constexpr std::array<std::pair<Phase, std::string_view>, 6> kPhases{{{Phase::kBooking, "booking"},
                                                                     {Phase::kPending, "pending"},
                                                                     {Phase::kBooked, "booked"},
                                                                     {Phase::kCancelling, "cancelling"},
                                                                     {Phase::kCancelled, "cancelled"},
                                                                     {Phase::kFailed, "failed"}}};

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
    case PlanState::kPending:
      return "pending";
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
      return to == Phase::kPending || to == Phase::kBooked || to == Phase::kFailed;
    case Phase::kPending:
      return to == Phase::kBooked || to == Phase::kCancelling || to == Phase::kFailed;
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

NodeKind Plan::priced_kind() const {
  NodeKind priced = kind;
  if (priced_gpus >= 0) priced.gpus = priced_gpus;
  return priced;
}

std::vector<std::string> Plan::everybody() const {
  auto names = users;
  names.insert(names.end(), members.begin(), members.end());
  return names;
}

bool Plan::may_use(std::uint32_t uid) const {
  const auto is_among = [uid](const std::vector<std::uint32_t>& uids) {
    return std::find(uids.begin(), uids.end(), uid) != uids.end();
  };
  return is_among(uids) || is_among(member_uids);
}

std::vector<Window> Plan::windows() const {
  std::vector<Window> windows;
  for (const auto& segment : segments) windows.push_back({segment.start, segment.end});
  return windows;
}

PlanState Plan::state_at(sys_seconds now) const {
  if (phase == Phase::kFailed) return PlanState::kFailed;
  if (phase == Phase::kCancelled || phase == Phase::kCancelling) return PlanState::kCancelled;
  if (phase == Phase::kBooking) return PlanState::kBooking;
  if (phase == Phase::kPending) return PlanState::kPending;
  if (segments.empty() || now >= segments.back().end) return PlanState::kExpired;
  const bool within = std::any_of(segments.begin(), segments.end(), [&](const Segment& segment) {
    return segment.start <= now && now < segment.end;
  });
  return within ? PlanState::kActive : PlanState::kScheduled;  // also between two segments
}

bool Plan::live_at(sys_seconds now) const {
  if (phase == Phase::kCancelling) return true;  // its reservations still exist
  const auto state = state_at(now);
  return state != PlanState::kExpired && state != PlanState::kFailed && state != PlanState::kCancelled;
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
  JsonFields fields("plan", body);
  PlanRequest request;
  request.name = fields.text("name").value_or("");
  if (request.name.empty()) fail("plan: the name is missing");
  check_plan_name(request.name);
  fields.set_subject("plan " + request.name);
  request.offer = fields.text("offer").value_or("");
  request.nodes = static_cast<int>(fields.integer("nodes", 1, kMaxNodes).value_or(0));
  request.spares = static_cast<int>(fields.integer("spares", 0, kMaxNodes).value_or(0));
  request.duration = fields.duration("duration", kMaxDuration).value_or(seconds{});
  if (const auto start = fields.integer("start", 0, 1LL << 40)) request.start = sys_seconds{seconds{*start}};
  request.partition = fields.text("partition").value_or("");
  request.features = fields.names("features").value_or(std::vector<std::string>{});
  request.gpus_per_node = static_cast<int>(fields.integer("gpus_per_node", 0, kMaxGpus).value_or(0));
  request.users = fields.names("users").value_or(std::vector<std::string>{});
  request.accounts = fields.names("accounts").value_or(std::vector<std::string>{});
  request.account = fields.text("account").value_or("");
  request.tags = fields.texts("tags").value_or(Tags{});
  check_tags("plan " + request.name, request.tags);
  request.quote = fields.flag("quote").value_or(false);
  fields.refuse_others();
  if (!request.offer.empty()) {
    for (const char* field :
         {"nodes", "spares", "duration", "start", "partition", "features", "gpus_per_node"}) {
      if (body.contains(field)) fail("plan {}: an offer has its own {}; leave it out", request.name, field);
    }
    return request;
  }
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
                        {"lost", lost_here},
                        {"released", segment.released}});
  }
  const auto open = std::find_if(plan.segments.begin(), plan.segments.end(),
                                 [&](const Segment& segment) { return segment.end > now; });
  const auto last = std::max<std::ptrdiff_t>(0, static_cast<std::ptrdiff_t>(plan.segments.size()) - 1);
  nlohmann::json json{{"name", plan.name},
                      {"state", to_string(plan.state_at(now))},
                      {"owner", plan.owner},
                      {"users", plan.users},
                      {"accounts", plan.accounts},
                      {"members", plan.members},
                      {"partition", plan.kind.partition},
                      {"features", plan.kind.features},
                      {"gpus_per_node", std::max(plan.kind.gpus, 0)},
                      {"account", plan.account},
                      {"nodes", plan.nodes},
                      {"spares", plan.spares},
                      {"price", to_json(plan.price)},
                      {"refund", amount_text(plan.refund_cents)},
                      {"segments", segments},
                      {"segment", std::min(open - plan.segments.begin(), last)},
                      {"switches", plan.switches},
                      {"tags", plan.tags},
                      {"created", plan.created.time_since_epoch().count()}};
  if (!plan.reason.empty()) json["reason"] = plan.reason;
  return json;
}

PlanRow to_table_row(const Plan& plan, sys_seconds now) {
  PlanRow row;
  row.name = plan.name;
  row.state = to_string(plan.state_at(now));
  row.users = plan.everybody();
  row.uids = plan.uids;
  row.uids.insert(row.uids.end(), plan.member_uids.begin(), plan.member_uids.end());
  row.partition = plan.kind.partition;
  row.nodes = plan.nodes;
  row.spares = plan.spares;
  if (plan.kind.gpus >= 0) row.gpus = plan.kind.gpus;
  for (const auto& segment : plan.segments) {
    row.segments.push_back(
        {segment.reservation, segment.start, segment.end, format_host_list(segment.nodes), segment.released});
  }
  return row;
}

}  // namespace stint::reservations
