// SPDX-License-Identifier: Apache-2.0
// The ledger's records: history, events and recoveries of jobs, usage.
#include "reservations/ledger.h"

#include <array>
#include <utility>

#include "base/error.h"
#include "reservations/ledger_work.h"

namespace stint::reservations {
namespace {

using std::chrono::sys_seconds;

constexpr std::array<std::pair<Recovery::Step, std::string_view>, 5> kSteps{
    {{Recovery::Step::kDown, "down"},
     {Recovery::Step::kRequeue, "requeue"},
     {Recovery::Step::kHold, "hold"},
     {Recovery::Step::kStart, "start"},
     {Recovery::Step::kDone, "done"}}};

Recovery::Step parse_step(std::string_view text) {
  for (const auto& [step, name] : kSteps) {
    if (name == text) return step;
  }
  fail("ledger: unknown step '{}'", text);
}
void bind_failure(SQLite::Statement& statement, const Recovery& recovery) {
  statement.bind(1, static_cast<std::int64_t>(recovery.job));
  statement.bind(2, static_cast<std::int64_t>(recovery.restart));
  statement.bind(3, recovery.node);
}
}  // namespace

std::string_view to_string(Recovery::Step step) {
  for (const auto& [value, name] : kSteps) {
    if (value == step) return name;
  }
  return "?";
}
void insert_history(SQLite::Database& database, std::int64_t plan, const HistoryEntry& entry) {
  SQLite::Statement statement(database,
                              "INSERT INTO history (t, plan, who, action, detail) VALUES (?, ?, ?, ?, ?)");
  statement.bind(1, entry.t);
  statement.bind(2, plan);
  statement.bind(3, entry.who);
  statement.bind(4, entry.action);
  statement.bind(5, entry.detail);
  statement.exec();
}
void Ledger::add_history(std::int64_t plan, const HistoryEntry& entry) {
  write("ledger.add_history", [&](SQLite::Database& database) { insert_history(database, plan, entry); });
}

std::vector<HistoryEntry> Ledger::history(std::int64_t plan) const {
  return guarded([&](SQLite::Database& database) {
    SQLite::Statement query(database,
                            "SELECT t, who, action, detail FROM history WHERE plan = ? ORDER BY id");
    query.bind(1, plan);
    std::vector<HistoryEntry> entries;
    while (query.executeStep()) {
      entries.push_back({query.getColumn(0).getDouble(), query.getColumn(1).getString(),
                         query.getColumn(2).getString(), query.getColumn(3).getString()});
    }
    return entries;
  });
}

void Ledger::add_event(const JobEvent& event) {
  write("ledger.add_event", [&](SQLite::Database& database) {
    SQLite::Statement statement(database,
                                "INSERT INTO events (t, job, event, node, detail) VALUES (?, ?, ?, ?, ?)");
    statement.bind(1, event.t);
    statement.bind(2, static_cast<std::int64_t>(event.job));
    statement.bind(3, event.event);
    statement.bind(4, event.node);
    statement.bind(5, event.detail);
    statement.exec();
  });
}

std::vector<JobEvent> Ledger::events(std::uint32_t job) const {
  return guarded([&](SQLite::Database& database) {
    SQLite::Statement query(database, "SELECT t, event, node, detail FROM events WHERE job = ? ORDER BY id");
    query.bind(1, static_cast<std::int64_t>(job));
    std::vector<JobEvent> events;
    while (query.executeStep()) {
      events.push_back({query.getColumn(0).getDouble(), job, query.getColumn(1).getString(),
                        query.getColumn(2).getString(), query.getColumn(3).getString()});
    }
    return events;
  });
}

std::optional<std::int64_t> Ledger::add_recovery(const Recovery& recovery, sys_seconds queued) {
  return write("ledger.add_recovery", [&](SQLite::Database& database) -> std::optional<std::int64_t> {
    SQLite::Statement forget(database,
                             "DELETE FROM recoveries WHERE job = ? AND restart = ? AND node = ? AND "
                             "step = 'done' AND noticed < ?");
    bind_failure(forget, recovery);
    forget.bind(4, static_cast<std::int64_t>(queued.time_since_epoch().count()));
    forget.exec();
    SQLite::Statement insert(database,
                             "INSERT OR IGNORE INTO recoveries (job, restart, node, step, noticed) "
                             "VALUES (?, ?, ?, ?, ?)");
    bind_failure(insert, recovery);
    insert.bind(4, std::string(to_string(recovery.step)));
    insert.bind(5, recovery.noticed);
    const bool added = insert.exec() > 0;
    const std::int64_t id = database.getLastInsertRowid();
    return added ? std::optional(id) : std::nullopt;
  });
}

void Ledger::set_step(std::int64_t recovery, Recovery::Step step) {
  write("ledger.set_step", [&](SQLite::Database& database) {
    SQLite::Statement statement(database, "UPDATE recoveries SET step = ? WHERE id = ?");
    statement.bind(1, std::string(to_string(step)));
    statement.bind(2, recovery);
    statement.exec();
  });
}

std::vector<Recovery> Ledger::open_recoveries() const {
  return guarded([&](SQLite::Database& database) {
    SQLite::Statement query(
        database,
        "SELECT id, job, restart, node, step, noticed FROM recoveries WHERE step <> 'done' ORDER BY id");
    std::vector<Recovery> open;
    while (query.executeStep()) {
      open.push_back(
          {query.getColumn(0).getInt64(), static_cast<std::uint32_t>(query.getColumn(1).getInt64()),
           static_cast<std::uint32_t>(query.getColumn(2).getInt64()), query.getColumn(3).getString(),
           parse_step(query.getColumn(4).getString()), query.getColumn(5).getDouble()});
    }
    return open;
  });
}

bool Ledger::recovers(std::uint32_t job, std::uint32_t restart) const {
  return guarded([&](SQLite::Database& database) {
    SQLite::Statement query(
        database, "SELECT 1 FROM recoveries WHERE job = ? AND restart = ? AND step <> 'done' LIMIT 1");
    query.bind(1, static_cast<std::int64_t>(job));
    query.bind(2, static_cast<std::int64_t>(restart));
    return query.executeStep();
  });
}

NodeSeconds& NodeSeconds::operator+=(const NodeSeconds& other) {
  used += other.used;
  idle += other.idle;
  lost += other.lost;
  return *this;
}
void Ledger::set_usage(const std::vector<UsageRow>& rows) {
  write("ledger.set_usage", [&](SQLite::Database& database) {
    SQLite::Statement statement(database, "INSERT OR REPLACE INTO usage VALUES (?, ?, ?, ?, ?, ?, ?)");
    for (const auto& row : rows) {
      int place = 1;
      for (const std::int64_t value :
           {row.plan, static_cast<std::int64_t>(row.k), row.day.time_since_epoch().count(),
            row.until.time_since_epoch().count(), row.spent.used, row.spent.idle, row.spent.lost}) {
        statement.bind(place++, value);
      }
      statement.exec();
      statement.reset();
    }
  });
}

std::vector<UsageRow> Ledger::usage(std::int64_t plan) const {
  return guarded([&](SQLite::Database& database) {
    SQLite::Statement query(
        database, "SELECT k, day, until, used, idle, lost FROM usage WHERE plan = ? ORDER BY k, day");
    query.bind(1, plan);
    std::vector<UsageRow> rows;
    while (query.executeStep()) {
      rows.push_back(
          {plan,
           static_cast<std::size_t>(query.getColumn(0).getInt64()),
           time_of(query.getColumn(1)),
           time_of(query.getColumn(2)),
           {query.getColumn(3).getInt64(), query.getColumn(4).getInt64(), query.getColumn(5).getInt64()}});
    }
    return rows;
  });
}

}  // namespace stint::reservations
