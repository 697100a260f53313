// SPDX-License-Identifier: Apache-2.0
// What the ledger remembers of notices and of idle plans.
#include "reservations/ledger_work.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

std::int64_t unix_of(sys_seconds time) {
  return time.time_since_epoch().count();
}

}  // namespace

std::vector<HistoryLine> Ledger::history_after(std::int64_t line, std::size_t most) const {
  return guarded([&](SQLite::Database& database) {
    SQLite::Statement query(
        database, "SELECT id, plan, t, who, action, detail FROM history WHERE id > ? ORDER BY id LIMIT ?");
    query.bind(1, line);
    query.bind(2, static_cast<std::int64_t>(most));
    std::vector<HistoryLine> lines;
    while (query.executeStep()) {
      lines.push_back({query.getColumn(0).getInt64(),
                       query.getColumn(1).getInt64(),
                       {query.getColumn(2).getDouble(), query.getColumn(3).getString(),
                        query.getColumn(4).getString(), query.getColumn(5).getString()}});
    }
    return lines;
  });
}

NoticeMark Ledger::start_notices(double now) {
  return write("ledger.start_notices", [&](SQLite::Database& database) {
    SQLite::Statement query(database, "SELECT history, since FROM notice_mark");
    if (query.executeStep()) return NoticeMark{query.getColumn(0).getInt64(), query.getColumn(1).getDouble()};
    const NoticeMark mark{database.execAndGet("SELECT COALESCE(MAX(id), 0) FROM history").getInt64(), now};
    SQLite::Statement insert(database, "INSERT INTO notice_mark VALUES (?, ?)");
    insert.bind(1, mark.history);
    insert.bind(2, mark.since);
    insert.exec();
    return mark;
  });
}

void Ledger::stop_notices() {
  write("ledger.stop_notices", [&](SQLite::Database& database) {
    database.exec("DELETE FROM notice_mark");
    database.exec("UPDATE outbox SET body = '' WHERE body <> ''");
  });
}

void Ledger::add_notices(const std::vector<OutboxEntry>& notices, std::optional<std::int64_t> history) {
  write("ledger.add_notices", [&](SQLite::Database& database) {
    SQLite::Statement statement(database,
                                "INSERT OR IGNORE INTO outbox (key, body, made, next) VALUES (?, ?, ?, ?)");
    for (const auto& notice : notices) {
      statement.bind(1, notice.key);
      statement.bind(2, notice.body);
      statement.bind(3, notice.made);
      statement.bind(4, notice.next);
      statement.exec();
      statement.reset();
    }
    if (!history) return;
    SQLite::Statement mark(database, "UPDATE notice_mark SET history = ?");
    mark.bind(1, *history);
    mark.exec();
  });
}

std::optional<OutboxEntry> Ledger::next_notice(double now) const {
  return guarded([&](SQLite::Database& database) -> std::optional<OutboxEntry> {
    SQLite::Statement query(database,
                            "SELECT id, key, body, made, next, attempts FROM outbox "
                            "WHERE body <> '' AND next <= ? ORDER BY id LIMIT 1");
    query.bind(1, now);
    if (!query.executeStep()) return std::nullopt;
    return OutboxEntry{query.getColumn(0).getInt64(),  query.getColumn(1).getString(),
                       query.getColumn(2).getString(), query.getColumn(3).getDouble(),
                       query.getColumn(4).getDouble(), query.getColumn(5).getInt()};
  });
}

void Ledger::retry_notice(std::int64_t notice, double next) {
  write("ledger.retry_notice", [&](SQLite::Database& database) {
    SQLite::Statement statement(database, "UPDATE outbox SET attempts = attempts + 1, next = ? WHERE id = ?");
    statement.bind(1, next);
    statement.bind(2, notice);
    statement.exec();
  });
}

void Ledger::close_notice(std::int64_t notice) {
  write("ledger.close_notice", [&](SQLite::Database& database) {
    SQLite::Statement statement(database, "UPDATE outbox SET body = '' WHERE id = ?");
    statement.bind(1, notice);
    statement.exec();
  });
}

std::vector<IdleRow> Ledger::idle_rows() const {
  return guarded([&](SQLite::Database& database) {
    SQLite::Statement query(database, "SELECT plan, k, since, told, seen FROM idle ORDER BY plan");
    std::vector<IdleRow> rows;
    while (query.executeStep()) {
      rows.push_back({query.getColumn(0).getInt64(), static_cast<std::size_t>(query.getColumn(1).getInt64()),
                      time_of(query.getColumn(2)), time_of(query.getColumn(3)), time_of(query.getColumn(4))});
    }
    return rows;
  });
}

void Ledger::set_idle_rows(const std::vector<IdleRow>& rows,
                           const std::vector<std::pair<std::int64_t, HistoryEntry>>& entries) {
  write("ledger.set_idle_rows", [&](SQLite::Database& database) {
    database.exec("DELETE FROM idle");
    SQLite::Statement statement(database, "INSERT INTO idle VALUES (?, ?, ?, ?, ?)");
    for (const auto& row : rows) {
      statement.bind(1, row.plan);
      statement.bind(2, static_cast<std::int64_t>(row.k));
      statement.bind(3, unix_of(row.since));
      statement.bind(4, unix_of(row.told));
      statement.bind(5, unix_of(row.seen));
      statement.exec();
      statement.reset();
    }
    for (const auto& [plan, entry] : entries) insert_history(database, plan, entry);
  });
}

}  // namespace stint::reservations
