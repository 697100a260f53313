// SPDX-License-Identifier: Apache-2.0
// The ledger's file: opened, checked, brought up to this version's tables.
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/one_line.h"
#include "reservations/ledger.h"
#include "reservations/ledger_work.h"

namespace stint::reservations {
namespace {

constexpr int kBusyMilliseconds = 5'000;
constexpr std::size_t kLongestFinding = 200;  // of SQLite, in a message
constexpr long kZfsSuperMagic = 0x2FC12FC1;   // not in linux/magic.h

// Each step takes a ledger from one version to the next; an old ledger is brought up when it is opened. Steps
// that a release has had are never changed.
constexpr std::array<const char*, 9> kSchemaSteps{
    R"sql(
CREATE TABLE plans (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  phase TEXT NOT NULL,
  force INTEGER NOT NULL DEFAULT 0,
  reason TEXT NOT NULL DEFAULT '',
  owner_uid INTEGER NOT NULL,
  owner TEXT NOT NULL,
  users TEXT NOT NULL,
  uids TEXT NOT NULL,
  partition TEXT NOT NULL,
  nodes INTEGER NOT NULL,
  spares INTEGER NOT NULL,
  price_cents INTEGER NOT NULL,
  currency TEXT NOT NULL,
  rate_micros INTEGER NOT NULL,
  switches INTEGER NOT NULL,
  created INTEGER NOT NULL
);
CREATE INDEX plans_by_name ON plans(name);
CREATE TABLE segments (
  plan INTEGER NOT NULL REFERENCES plans(id),
  k INTEGER NOT NULL,
  reservation TEXT NOT NULL,
  start INTEGER NOT NULL,
  end INTEGER NOT NULL,
  nodes TEXT NOT NULL,
  PRIMARY KEY (plan, k)
);
CREATE INDEX segments_by_end ON segments(end);
CREATE TABLE events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  t REAL NOT NULL,
  job INTEGER NOT NULL,
  event TEXT NOT NULL,
  node TEXT NOT NULL,
  detail TEXT NOT NULL
);
CREATE INDEX events_by_job ON events(job);
CREATE TABLE recoveries (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  job INTEGER NOT NULL,
  restart INTEGER NOT NULL,
  node TEXT NOT NULL,
  step TEXT NOT NULL,
  noticed REAL NOT NULL,
  UNIQUE (job, restart, node)
);
CREATE INDEX recoveries_by_step ON recoveries(step);
)sql",
    R"sql(
CREATE TABLE history (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  t REAL NOT NULL,
  plan INTEGER NOT NULL,
  who TEXT NOT NULL,
  action TEXT NOT NULL,
  detail TEXT NOT NULL
);
CREATE INDEX history_by_plan ON history(plan);
)sql",
    R"sql(
ALTER TABLE plans ADD COLUMN features TEXT NOT NULL DEFAULT '';
ALTER TABLE plans ADD COLUMN gpus INTEGER NOT NULL DEFAULT -1;
ALTER TABLE plans ADD COLUMN account TEXT NOT NULL DEFAULT '';
ALTER TABLE plans ADD COLUMN needs_approval INTEGER NOT NULL DEFAULT 0;
CREATE TABLE changes (
  plan INTEGER PRIMARY KEY REFERENCES plans(id),
  wanted INTEGER NOT NULL REFERENCES plans(id),
  t REAL NOT NULL,
  who TEXT NOT NULL,
  action TEXT NOT NULL,
  detail TEXT NOT NULL
);
CREATE INDEX changes_by_wanted ON changes(wanted);
)sql",
    R"sql(
ALTER TABLE plans ADD COLUMN breakdown TEXT NOT NULL DEFAULT '';
ALTER TABLE plans ADD COLUMN refund_cents INTEGER NOT NULL DEFAULT 0;
CREATE INDEX plans_by_account ON plans(account);
CREATE TABLE usage (
  plan INTEGER NOT NULL REFERENCES plans(id),
  k INTEGER NOT NULL,
  day INTEGER NOT NULL,
  until INTEGER NOT NULL,
  used INTEGER NOT NULL,
  idle INTEGER NOT NULL,
  lost INTEGER NOT NULL,
  PRIMARY KEY (plan, k, day)
);
)sql",
    R"sql(
ALTER TABLE plans ADD COLUMN kept_cents INTEGER NOT NULL DEFAULT 0;
ALTER TABLE plans ADD COLUMN kept_until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE plans ADD COLUMN priced_gpus INTEGER NOT NULL DEFAULT -1;
)sql",
    R"sql(
ALTER TABLE plans ADD COLUMN accounts TEXT NOT NULL DEFAULT '';
ALTER TABLE plans ADD COLUMN members TEXT NOT NULL DEFAULT '';
ALTER TABLE plans ADD COLUMN member_uids TEXT NOT NULL DEFAULT '';
)sql",
    R"sql(
ALTER TABLE segments ADD COLUMN released INTEGER NOT NULL DEFAULT 0;
CREATE TABLE idle (
  plan INTEGER PRIMARY KEY REFERENCES plans(id),
  k INTEGER NOT NULL,
  since INTEGER NOT NULL,
  told INTEGER NOT NULL,
  seen INTEGER NOT NULL
);
CREATE TABLE notice_mark (
  history INTEGER NOT NULL,
  since REAL NOT NULL
);
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL UNIQUE,
  body TEXT NOT NULL,
  made REAL NOT NULL,
  next REAL NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX outbox_open ON outbox(next) WHERE body <> '';
)sql",
    R"sql(
CREATE TABLE openings (
  plan INTEGER NOT NULL REFERENCES plans(id),
  k INTEGER NOT NULL,
  reservation TEXT NOT NULL,
  state TEXT NOT NULL,
  note TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (plan, k)
);
CREATE INDEX openings_by_state ON openings(state);
CREATE TABLE checks (
  plan INTEGER NOT NULL,
  k INTEGER NOT NULL,
  node TEXT NOT NULL,
  job INTEGER NOT NULL DEFAULT 0,
  state TEXT NOT NULL,
  found TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (plan, k, node),
  FOREIGN KEY (plan, k) REFERENCES openings(plan, k)
);
)sql",
    R"sql(
ALTER TABLE plans ADD COLUMN tags TEXT NOT NULL DEFAULT '';
)sql"};
constexpr int kSchemaVersion = static_cast<int>(kSchemaSteps.size());

// SQLite makes its files with the process's umask; users' plans are nobody else's business.
void keep_private(const std::string& path) {
  ::chmod(path.c_str(), 0600);
}

// SQLite's write-ahead log wants memory that all its users share: only on a disk of this machine.
std::string journal_mode(const std::string& path) {
  struct statfs found {};
  if (::statfs(path.c_str(), &found) != 0) fail("ledger {}: {}", path, errno_text(errno));
  return on_local_disk(found.f_type) ? "WAL" : "DELETE";
}

}  // namespace

int ledger_schema_version() {
  return kSchemaVersion;
}

bool on_local_disk(long file_system) {
  constexpr std::array<long, 8> kLocal = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC,     BTRFS_SUPER_MAGIC,
                                          TMPFS_MAGIC,      F2FS_SUPER_MAGIC,    OVERLAYFS_SUPER_MAGIC,
                                          kZfsSuperMagic,   REISERFS_SUPER_MAGIC};
  return std::find(kLocal.begin(), kLocal.end(), file_system) != kLocal.end();
}

Ledger::Ledger(const std::string& path) : path_(path) {
  try {
    database_ = std::make_unique<SQLite::Database>(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE,
                                                   kBusyMilliseconds);
    keep_private(path);
    database_->exec(fmt::format("PRAGMA journal_mode = {}", journal_mode(path)));
    database_->exec("PRAGMA synchronous = FULL");
    database_->exec("PRAGMA foreign_keys = ON");
    check_whole();
    prepare_schema();
  } catch (const SQLite::Exception& error) {
    fail("ledger {}: {}; check [stintd] ledger, or put a copy in its place: stintd restore FILE", path,
         error.what());
  }
}

Ledger::~Ledger() = default;

// A damaged file may answer for long before it is found out.
void Ledger::check_whole() {
  const auto state = database_->execAndGet("PRAGMA quick_check(1)").getString();
  if (state == "ok") return;
  fail("ledger {}: is damaged ({}); put a copy in its place: stintd restore FILE", path_,
       as_one_line(state, kLongestFinding));
}

void Ledger::prepare_schema() {
  const int version = database_->execAndGet("PRAGMA user_version").getInt();
  if (version == kSchemaVersion) return;
  if (version < 0 || version > kSchemaVersion)
    fail("ledger {}: has version {}, this stintd knows {}; update stintd", path_, version, kSchemaVersion);
  if (version == 0 && database_->execAndGet("SELECT count(*) FROM sqlite_master").getInt() != 0) {
    fail("ledger {}: is a database of another program; name another file in [stintd] ledger", path_);
  }
  SQLite::Transaction transaction(*database_);
  for (int step = version; step < kSchemaVersion; ++step)
    database_->exec(kSchemaSteps.at(static_cast<std::size_t>(step)));
  database_->exec(fmt::format("PRAGMA user_version = {}", kSchemaVersion));
  transaction.commit();
}

}  // namespace stint::reservations
