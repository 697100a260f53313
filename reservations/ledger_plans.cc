// SPDX-License-Identifier: Apache-2.0
// The ledger's plans, their segments and the changes that are on their way.
#include <fmt/format.h>

#include <initializer_list>

#include "base/error.h"
#include "base/text.h"
#include "reservations/ledger.h"
#include "reservations/ledger_work.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

template <typename Values>
std::string joined(const Values& values) {
  return fmt::format("{}", fmt::join(values, ","));
}

std::vector<std::string> list_of(const std::string& text) {
  return text.empty() ? std::vector<std::string>{} : split(text, ',');
}

std::vector<std::uint32_t> uids_of(const std::string& text) {
  std::vector<std::uint32_t> uids;
  for (const auto& uid : list_of(text))
    uids.push_back(static_cast<std::uint32_t>(parse_integer(uid, 0, UINT32_MAX)));
  return uids;
}
std::vector<Segment> read_segments(SQLite::Database& database, std::int64_t plan) {
  SQLite::Statement query(database,
                          "SELECT reservation, start, end, nodes, released FROM segments WHERE plan = ? "
                          "ORDER BY k");
  query.bind(1, plan);
  std::vector<Segment> segments;
  while (query.executeStep()) {
    segments.push_back({query.getColumn(0).getString(), time_of(query.getColumn(1)),
                        time_of(query.getColumn(2)), list_of(query.getColumn(3).getString()),
                        query.getColumn(4).getInt() != 0});
  }
  return segments;
}

// In the order of read_plan() and bind_plan(). What a change may not touch (name, phase, …) is not among
// them.
constexpr char kPlanColumns[] =
    "owner_uid, owner, users, uids, partition, features, gpus, account, needs_approval, nodes, spares, "
    "price_cents, currency, rate_micros, breakdown, refund_cents, switches, created, kept_cents, kept_until, "
    "priced_gpus, accounts, members, member_uids, tags";
constexpr int kPlanColumnCount = 25;

// A row of `changes` names as its `wanted` a row of `plans` that is no plan itself.
std::string select_plans(const std::string& where) {
  return fmt::format("SELECT id, name, phase, force, reason, {} FROM plans WHERE {}", kPlanColumns, where);
}
constexpr char kNoChange[] = "id NOT IN (SELECT wanted FROM changes)";

Plan read_plan(SQLite::Database& database, SQLite::Statement& row) {
  Plan plan;
  int column = 0;
  const auto next = [&] { return row.getColumn(column++); };
  plan.id = next().getInt64();
  plan.name = next().getString();
  plan.phase = parse_phase(next().getString());
  plan.force = next().getInt() != 0;
  plan.reason = next().getString();
  plan.owner_uid = static_cast<std::uint32_t>(next().getInt64());
  plan.owner = next().getString();
  plan.users = list_of(next().getString());
  plan.uids = uids_of(next().getString());
  plan.kind.partition = next().getString();
  plan.kind.features = list_of(next().getString());
  plan.kind.gpus = next().getInt();
  plan.account = next().getString();
  plan.needs_approval = next().getInt() != 0;
  plan.nodes = next().getInt();
  plan.spares = next().getInt();
  plan.price.cents = next().getInt64();
  plan.price.currency = next().getString();
  plan.price.rate = Rate{next().getInt64()};
  plan.price.breakdown = next().getString();
  plan.refund_cents = next().getInt64();
  plan.switches = next().getInt();
  plan.created = time_of(next());
  plan.price.kept_cents = next().getInt64();
  plan.price.kept_until = time_of(next());
  plan.priced_gpus = next().getInt();
  plan.accounts = list_of(next().getString());
  plan.members = list_of(next().getString());
  plan.member_uids = uids_of(next().getString());
  plan.tags = read_tags(next().getString());
  plan.segments = read_segments(database, plan.id);
  return plan;
}

// From `place` on.
void bind_plan(SQLite::Statement& statement, int place, const Plan& plan) {
  const auto text = [&](const std::string& value) { statement.bind(place++, value); };
  const auto number = [&](std::int64_t value) { statement.bind(place++, value); };
  number(plan.owner_uid);
  text(plan.owner);
  text(joined(plan.users));
  text(joined(plan.uids));
  text(plan.kind.partition);
  text(joined(plan.kind.features));
  number(plan.kind.gpus);
  text(plan.account);
  number(plan.needs_approval ? 1 : 0);
  number(plan.nodes);
  number(plan.spares);
  number(plan.price.cents);
  text(plan.price.currency);
  number(plan.price.rate.micros);
  text(plan.price.breakdown);
  number(plan.refund_cents);
  number(plan.switches);
  number(plan.created.time_since_epoch().count());
  number(plan.price.kept_cents);
  number(plan.price.kept_until.time_since_epoch().count());
  number(plan.priced_gpus);
  text(joined(plan.accounts));
  text(joined(plan.members));
  text(joined(plan.member_uids));
  text(to_string(plan.tags));
}

void write_segment(SQLite::Database& database, std::int64_t plan, std::size_t k, const Segment& segment) {
  SQLite::Statement statement(database, "INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)");
  statement.bind(1, plan);
  statement.bind(2, static_cast<std::int64_t>(k));
  statement.bind(3, segment.reservation);
  statement.bind(4, static_cast<std::int64_t>(segment.start.time_since_epoch().count()));
  statement.bind(5, static_cast<std::int64_t>(segment.end.time_since_epoch().count()));
  statement.bind(6, joined(segment.nodes));
  statement.bind(7, segment.released ? 1 : 0);
  statement.exec();
}

std::int64_t insert_plan(SQLite::Database& database, const Plan& plan) {
  std::string places = "?, ?, ''";
  for (int i = 0; i < kPlanColumnCount; ++i) places += ", ?";
  SQLite::Statement statement(
      database, fmt::format("INSERT INTO plans (name, phase, reason, {}) VALUES ({})", kPlanColumns, places));
  statement.bind(1, plan.name);
  statement.bind(2, std::string(to_string(Phase::kBooking)));
  bind_plan(statement, 3, plan);
  statement.exec();
  const std::int64_t id = database.getLastInsertRowid();
  for (std::size_t k = 0; k < plan.segments.size(); ++k) write_segment(database, id, k, plan.segments[k]);
  return id;
}

void run(SQLite::Database& database, const char* text, std::initializer_list<std::int64_t> values) {
  SQLite::Statement statement(database, text);
  int place = 1;
  for (const std::int64_t value : values) statement.bind(place++, value);
  statement.exec();
}

void delete_plan(SQLite::Database& database, std::int64_t plan) {
  run(database, "DELETE FROM segments WHERE plan = ?", {plan});
  run(database, "DELETE FROM plans WHERE id = ?", {plan});
}

struct ChangeRow {
  std::int64_t wanted = 0;
  HistoryEntry entry;
};

std::optional<ChangeRow> read_change(SQLite::Database& database, std::int64_t plan) {
  SQLite::Statement query(database, "SELECT wanted, t, who, action, detail FROM changes WHERE plan = ?");
  query.bind(1, plan);
  if (!query.executeStep()) return std::nullopt;
  return ChangeRow{query.getColumn(0).getInt64(),
                   {query.getColumn(1).getDouble(), query.getColumn(2).getString(),
                    query.getColumn(3).getString(), query.getColumn(4).getString()}};
}

Phase read_phase(SQLite::Database& database, std::int64_t plan) {
  SQLite::Statement query(database, "SELECT phase FROM plans WHERE id = ?");
  query.bind(1, plan);
  if (!query.executeStep()) fail("ledger: there is no plan with id {}", plan);
  return parse_phase(query.getColumn(0).getString());
}
}  // namespace

std::int64_t Ledger::add_plan(const Plan& plan) {
  return write("ledger.add_plan", [&](SQLite::Database& database) { return insert_plan(database, plan); });
}

void Ledger::drop_plan(std::int64_t plan) {
  write("ledger.drop_plan", [&](SQLite::Database& database) {
    if (read_phase(database, plan) != Phase::kBooking) fail("ledger: only an intent can be removed");
    delete_plan(database, plan);
  });
}

void Ledger::set_phase(const Plan& plan, const std::optional<HistoryEntry>& entry) {
  write("ledger.set_phase", [&](SQLite::Database& database) {
    const Phase from = read_phase(database, plan.id);
    if (!may_follow(from, plan.phase))
      fail("ledger: a plan that is {} cannot become {}", to_string(from), to_string(plan.phase));
    SQLite::Statement statement(
        database, "UPDATE plans SET phase = ?, reason = ?, force = ?, refund_cents = ? WHERE id = ?");
    statement.bind(1, std::string(to_string(plan.phase)));
    statement.bind(2, plan.reason);
    statement.bind(3, plan.force ? 1 : 0);
    statement.bind(4, plan.refund_cents);
    statement.bind(5, plan.id);
    statement.exec();
    if (entry) insert_history(database, plan.id, *entry);
  });
}

void Ledger::set_segment(std::int64_t plan, std::size_t k, const Segment& segment,
                         const HistoryEntry& entry) {
  write("ledger.set_segment", [&](SQLite::Database& database) {
    write_segment(database, plan, k, segment);
    insert_history(database, plan, entry);
  });
}

void Ledger::set_tags(const Plan& plan, const HistoryEntry& entry) {
  write("ledger.set_tags", [&](SQLite::Database& database) {
    SQLite::Statement statement(database, "UPDATE plans SET tags = ? WHERE id = ?");
    statement.bind(1, to_string(plan.tags));
    statement.bind(2, plan.id);
    statement.exec();
    insert_history(database, plan.id, entry);
  });
}

void Ledger::begin_change(const PlanChange& change) {
  write("ledger.begin_change", [&](SQLite::Database& database) {
    if (read_phase(database, change.wanted.id) != Phase::kBooked)
      fail("ledger: only a booked plan can be changed");
    const std::int64_t wanted = insert_plan(database, change.wanted);
    SQLite::Statement statement(database, "INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?)");
    statement.bind(1, change.wanted.id);
    statement.bind(2, wanted);
    statement.bind(3, change.entry.t);
    statement.bind(4, change.entry.who);
    statement.bind(5, change.entry.action);
    statement.bind(6, change.entry.detail);
    statement.exec();
  });
}

std::optional<PlanChange> Ledger::open_change(std::int64_t plan) const {
  return guarded([&](SQLite::Database& database) -> std::optional<PlanChange> {
    const auto change = read_change(database, plan);
    if (!change) return std::nullopt;
    SQLite::Statement query(database, select_plans("id = ?"));
    query.bind(1, change->wanted);
    if (!query.executeStep()) fail("ledger: the change of plan {} has lost what was wanted", plan);
    Plan wanted = read_plan(database, query);
    wanted.id = plan;
    wanted.phase = read_phase(database, plan);
    return PlanChange{wanted, change->entry};
  });
}

void Ledger::finish_change(std::int64_t plan) {
  write("ledger.finish_change", [&](SQLite::Database& database) {
    const auto change = read_change(database, plan);
    if (!change) fail("ledger: plan {} has no open change", plan);
    run(database,
        fmt::format("UPDATE plans SET ({0}) = (SELECT {0} FROM plans WHERE id = ?) WHERE id = ?",
                    kPlanColumns)
            .c_str(),
        {change->wanted, plan});
    run(database, "DELETE FROM segments WHERE plan = ?", {plan});
    run(database, "UPDATE segments SET plan = ? WHERE plan = ?", {plan, change->wanted});
    run(database, "DELETE FROM changes WHERE plan = ?", {plan});
    delete_plan(database, change->wanted);
    insert_history(database, plan, change->entry);
  });
}

void Ledger::drop_change(std::int64_t plan) {
  write("ledger.drop_change", [&](SQLite::Database& database) {
    const auto change = read_change(database, plan);
    if (!change) return;
    run(database, "DELETE FROM changes WHERE plan = ?", {plan});
    delete_plan(database, change->wanted);
  });
}

std::vector<Plan> Ledger::plans_since(sys_seconds since) const {
  return guarded([&](SQLite::Database& database) {
    SQLite::Statement query(
        database, select_plans(fmt::format(
                      "id IN (SELECT plan FROM segments WHERE end >= ?) AND {} ORDER BY id", kNoChange)));
    query.bind(1, static_cast<std::int64_t>(since.time_since_epoch().count()));
    std::vector<Plan> plans;
    while (query.executeStep()) plans.push_back(read_plan(database, query));
    return plans;
  });
}

std::optional<Plan> Ledger::find_plan(const std::string& name) const {
  return guarded([&](SQLite::Database& database) -> std::optional<Plan> {
    SQLite::Statement query(database,
                            select_plans(fmt::format("name = ? AND {} ORDER BY id DESC LIMIT 1", kNoChange)));
    query.bind(1, name);
    if (!query.executeStep()) return std::nullopt;
    return read_plan(database, query);
  });
}

std::optional<Plan> Ledger::plan(std::int64_t id) const {
  return guarded([&](SQLite::Database& database) -> std::optional<Plan> {
    SQLite::Statement query(database, select_plans(fmt::format("id = ? AND {}", kNoChange)));
    query.bind(1, id);
    if (!query.executeStep()) return std::nullopt;
    return read_plan(database, query);
  });
}
std::vector<Plan> Ledger::plans_between(Window window) const {
  return guarded([&](SQLite::Database& database) {
    SQLite::Statement query(
        database,
        select_plans(fmt::format(
            "id IN (SELECT plan FROM segments WHERE end > ? AND start < ?) AND {} ORDER BY id", kNoChange)));
    query.bind(1, static_cast<std::int64_t>(window.start.time_since_epoch().count()));
    query.bind(2, static_cast<std::int64_t>(window.end.time_since_epoch().count()));
    std::vector<Plan> plans;
    while (query.executeStep()) plans.push_back(read_plan(database, query));
    return plans;
  });
}

std::int64_t Ledger::charged(const std::string& account, const std::string& currency, Window window) const {
  return guarded([&](SQLite::Database& database) {
    SQLite::Statement query(database, R"sql(
SELECT COALESCE(SUM(MAX(plans.price_cents, COALESCE(wanted.price_cents, 0)) - plans.refund_cents), 0)
FROM plans LEFT JOIN changes ON changes.plan = plans.id LEFT JOIN plans AS wanted ON wanted.id = changes.wanted
WHERE plans.account = ? AND plans.currency = ?
  AND (SELECT MIN(start) FROM segments WHERE segments.plan = plans.id) BETWEEN ? AND ?
  AND plans.id NOT IN (SELECT wanted FROM changes))sql");
    query.bind(1, account);
    query.bind(2, currency);
    query.bind(3, static_cast<std::int64_t>(window.start.time_since_epoch().count()));
    query.bind(4, static_cast<std::int64_t>(window.end.time_since_epoch().count() - 1));
    query.executeStep();
    return query.getColumn(0).getInt64();
  });
}

}  // namespace stint::reservations
