// SPDX-License-Identifier: Apache-2.0
// What the ledger remembers of openings and of their health checks.
#include <fmt/format.h>

#include <array>
#include <string>
#include <utility>

#include "reservations/ledger_work.h"

namespace stint::reservations {
namespace {

constexpr std::array<std::pair<Opening::State, std::string_view>, 3> kOpeningStates{
    {{Opening::State::kBegun, "begun"},
     {Opening::State::kReserved, "reserved"},
     {Opening::State::kClosed, "closed"}}};

constexpr std::array<std::pair<NodeCheck::State, std::string_view>, 5> kCheckStates{
    {{NodeCheck::State::kAsked, "asked"},
     {NodeCheck::State::kGood, "good"},
     {NodeCheck::State::kBad, "bad"},
     {NodeCheck::State::kDrained, "drained"},
     {NodeCheck::State::kUnknown, "unknown"}}};

template <typename States, typename State>
std::string name_in(const States& states, State state) {
  for (const auto& [value, name] : states) {
    if (value == state) return std::string(name);
  }
  return "?";
}

template <typename States>
auto state_in(const States& states, std::string_view text) {
  for (const auto& [value, name] : states) {
    if (name == text) return value;
  }
  fail("ledger: unknown state '{}'", text);
}

constexpr char kOpeningColumns[] = "plan, k, reservation, state, note";

Opening read_opening(SQLite::Statement& row) {
  return {row.getColumn(0).getInt64(), static_cast<std::size_t>(row.getColumn(1).getInt64()),
          row.getColumn(2).getString(), state_in(kOpeningStates, row.getColumn(3).getString()),
          row.getColumn(4).getString()};
}

void write_opening(SQLite::Database& database, const Opening& opening) {
  SQLite::Statement statement(
      database,
      fmt::format("INSERT INTO openings ({}) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                  "reservation = excluded.reservation, state = excluded.state, note = excluded.note",
                  kOpeningColumns));
  statement.bind(1, opening.plan);
  statement.bind(2, static_cast<std::int64_t>(opening.k));
  statement.bind(3, opening.reservation);
  statement.bind(4, name_in(kOpeningStates, opening.state));
  statement.bind(5, opening.note);
  statement.exec();
}

// The statement has "plan = ? AND k = ? AND node = ?" from `place` on; what stands before is bound already.
void run_for_check(SQLite::Statement& statement, int place, const Opening& opening, const std::string& node) {
  statement.bind(place, opening.plan);
  statement.bind(place + 1, static_cast<std::int64_t>(opening.k));
  statement.bind(place + 2, node);
  statement.exec();
}

}  // namespace

void Ledger::begin_opening(const Opening& opening) {
  write("ledger.begin_opening", [&](SQLite::Database& database) { write_opening(database, opening); });
}

void Ledger::set_opening(const Opening& opening) {
  write("ledger.set_opening", [&](SQLite::Database& database) { write_opening(database, opening); });
}

void Ledger::close_opening(const Opening& opening, const HistoryEntry& entry) {
  write("ledger.close_opening", [&](SQLite::Database& database) {
    write_opening(database, opening);
    insert_history(database, opening.plan, entry);
  });
}

std::vector<Opening> Ledger::open_openings() const {
  return guarded([&](SQLite::Database& database) {
    SQLite::Statement query(
        database, fmt::format("SELECT {} FROM openings WHERE state IN ('begun', 'reserved') ORDER BY plan, k",
                              kOpeningColumns));
    std::vector<Opening> open;
    while (query.executeStep()) open.push_back(read_opening(query));
    return open;
  });
}

std::optional<Opening> Ledger::opening(std::int64_t plan, std::size_t k) const {
  return guarded([&](SQLite::Database& database) -> std::optional<Opening> {
    SQLite::Statement query(database,
                            fmt::format("SELECT {} FROM openings WHERE plan = ? AND k = ?", kOpeningColumns));
    query.bind(1, plan);
    query.bind(2, static_cast<std::int64_t>(k));
    if (!query.executeStep()) return std::nullopt;
    return read_opening(query);
  });
}

void Ledger::add_check(const Opening& opening, const std::string& node) {
  write("ledger.add_check", [&](SQLite::Database& database) {
    SQLite::Statement statement(
        database, "INSERT OR IGNORE INTO checks (state, plan, k, node) VALUES ('asked', ?, ?, ?)");
    run_for_check(statement, 1, opening, node);
  });
}

void Ledger::set_check_job(const Opening& opening, const std::string& node, std::uint32_t job) {
  write("ledger.set_check_job", [&](SQLite::Database& database) {
    SQLite::Statement statement(database, "UPDATE checks SET job = ? WHERE plan = ? AND k = ? AND node = ?");
    statement.bind(1, static_cast<std::int64_t>(job));
    run_for_check(statement, 2, opening, node);
  });
}

void Ledger::set_check(const Opening& opening, const std::string& node, NodeCheck::State state,
                       const std::string& found) {
  write("ledger.set_check", [&](SQLite::Database& database) {
    SQLite::Statement statement(
        database,
        "UPDATE checks SET state = ?, found = CASE found WHEN '' THEN ? ELSE found END "
        "WHERE plan = ? AND k = ? AND node = ?");
    statement.bind(1, name_in(kCheckStates, state));
    statement.bind(2, found);
    run_for_check(statement, 3, opening, node);
  });
}

void Ledger::note_findings(const Opening& opening, const std::string& node, const std::string& found) {
  write("ledger.note_findings", [&](SQLite::Database& database) {
    SQLite::Statement statement(
        database, "UPDATE checks SET found = ? WHERE plan = ? AND k = ? AND node = ? AND state = 'asked'");
    statement.bind(1, found);
    run_for_check(statement, 2, opening, node);
  });
}

std::vector<NodeCheck> Ledger::checks(std::int64_t plan, std::size_t k) const {
  return guarded([&](SQLite::Database& database) {
    SQLite::Statement query(
        database, "SELECT node, job, state, found FROM checks WHERE plan = ? AND k = ? ORDER BY node");
    query.bind(1, plan);
    query.bind(2, static_cast<std::int64_t>(k));
    std::vector<NodeCheck> checks;
    while (query.executeStep()) {
      checks.push_back(
          {query.getColumn(0).getString(), static_cast<std::uint32_t>(query.getColumn(1).getInt64()),
           state_in(kCheckStates, query.getColumn(2).getString()), query.getColumn(3).getString()});
    }
    return checks;
  });
}

}  // namespace stint::reservations
