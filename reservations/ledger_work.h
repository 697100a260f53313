// SPDX-License-Identifier: Apache-2.0
// How the ledger works on its database: for the files ledger*.cc alone.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <type_traits>

#include "base/error.h"
#include "reservations/kill_point.h"
#include "reservations/ledger.h"

namespace stint::reservations {

template <typename Work>
auto Ledger::guarded(Work work) const {
  const std::lock_guard lock(mutex_);
  try {
    return work(*database_);
  } catch (const SQLite::Exception& error) {
    const bool full = error.getErrorCode() == SQLITE_FULL;
    fail("ledger {}: {}{}", path_, error.what(), full ? "; make room on its file system" : "");
  }
}

// One transaction, and then a point at which a test may end the process.
template <typename Work>
auto Ledger::write(std::string_view name, Work work) {
  return guarded([&](SQLite::Database& database) {
    SQLite::Transaction transaction(database);
    if constexpr (std::is_void_v<decltype(work(database))>) {
      work(database);
      transaction.commit();
      kill_point(name);
    } else {
      auto result = work(database);
      transaction.commit();
      kill_point(name);
      return result;
    }
  });
}

inline std::chrono::sys_seconds time_of(const SQLite::Column& column) {
  return std::chrono::sys_seconds{std::chrono::seconds{column.getInt64()}};
}

void insert_history(SQLite::Database& database, std::int64_t plan, const HistoryEntry& entry);

}  // namespace stint::reservations
