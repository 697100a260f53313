// SPDX-License-Identifier: Apache-2.0
// A plan and its life. Pure values: the ledger keeps them, the book works on them, the service shows them.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/plan_table.h"
#include "reservations/money.h"
#include "reservations/planner.h"
#include "reservations/tags.h"

namespace stint::reservations {

// What the ledger remembers. Everything that depends on the clock is PlanState.
//
//   booking ──> [pending ──>] booked ──> cancelling ──> cancelled
//      └────────────┴───────────┴──> failed
//
// Pending: its reservations exist, but nobody may use them until it is approved.
enum class Phase { kBooking, kPending, kBooked, kCancelling, kCancelled, kFailed };

// What people see.
enum class PlanState { kBooking, kPending, kScheduled, kActive, kExpired, kFailed, kCancelled };

std::string_view to_string(Phase phase);
std::string_view to_string(PlanState state);
Phase parse_phase(std::string_view text);  // throws Error
// Whether the ledger may move a plan from one phase to another (a plan may always stay).
bool may_follow(Phase from, Phase to);

// Which nodes will do.
struct NodeKind {
  std::string partition;
  std::vector<std::string> features;  // all of them
  int gpus = 0;                       // at least so many each; of plans of an older ledger -1: not known
};

struct Segment {
  std::string reservation;
  std::chrono::sys_seconds start{};
  std::chrono::sys_seconds end{};
  std::vector<std::string> nodes;
  bool released = false;  // its rest was given back: no job was in it

  bool operator==(const Segment&) const = default;
};

struct Plan {
  std::int64_t id = 0;  // of the ledger; names may be used again once a plan is over
  std::string name;
  Phase phase = Phase::kBooking;
  bool force = false;  // cancelling: end its jobs
  std::string reason;  // why it failed or was cancelled
  bool needs_approval = false;
  std::uint32_t owner_uid = 0;
  std::string owner;
  std::vector<std::string> users;
  std::vector<std::uint32_t> uids;         // of users, in the same order
  std::vector<std::string> accounts;       // whose members may use it too
  std::vector<std::string> members;        // these, as last seen, without those among users
  std::vector<std::uint32_t> member_uids;  // of members, in the same order
  std::string account;                     // that is charged
  NodeKind kind;         // of every node, also of those that replace others; gpus: as many as were priced
  int priced_gpus = -1;  // each node's in the class that was priced; -1: as kind has them
  int nodes = 0;
  int spares = 0;
  Price price;
  std::int64_t refund_cents = 0;  // given back when it was cancelled or failed
  int switches = 0;               // leaf switches at booking
  Tags tags;
  std::chrono::sys_seconds created{};
  std::vector<Segment> segments;

  std::vector<std::string> everybody() const;  // users and members
  bool may_use(std::uint32_t uid) const;
  std::vector<Window> windows() const;  // of its segments
  NodeKind priced_kind() const;         // what was asked for: its rates hold for changes too
  PlanState state_at(std::chrono::sys_seconds now) const;
  // Neither expired, failed nor cancelled: its name is taken and its reservations must exist.
  bool live_at(std::chrono::sys_seconds now) const;
};

// Throws Error where no plan may have this name; "none" is what opts out of a plan at submit.
void check_plan_name(const std::string& name);

// What `stint plan create` asks for, as it comes over HTTP.
struct PlanRequest {
  std::string name;
  std::string offer;  // an id; then nodes to partition are the offer's
  int nodes = 0;
  int spares = 0;
  std::optional<std::chrono::sys_seconds> start;  // none: now
  std::chrono::seconds duration{};
  std::string partition;  // empty: Slurm's default partition
  std::vector<std::string> features;
  int gpus_per_node = 0;
  std::vector<std::string> users;     // empty: the requesting user
  std::vector<std::string> accounts;  // whose members may use it too
  std::string account;                // empty: the owner's default account
  Tags tags;
  bool quote = false;  // say nodes and price, book nothing

  // Throws Error that names the field: wrong type, missing, out of range, unknown field.
  static PlanRequest parse(const nlohmann::json& body);
};

// Nodes whose state keeps them out of a plan are `lost`; only those of live plans are asked for. "segment" is
// the open one, else the next one, else the last.
nlohmann::json to_json(const Plan& plan, std::chrono::sys_seconds now, const std::vector<std::string>& lost);
PlanRow to_table_row(const Plan& plan, std::chrono::sys_seconds now);

}  // namespace stint::reservations
