// SPDX-License-Identifier: Apache-2.0
#include "reservations/ledger.h"

#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <initializer_list>
#include <utility>

#include "base/error.h"
#include "base/one_line.h"
#include "base/text.h"
#include "reservations/ledger_work.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr int kBusyMilliseconds = 5'000;
constexpr std::size_t kLongestFinding = 200;  // of SQLite, in a message
constexpr long kZfsSuperMagic = 0x2FC12FC1;   // not in linux/magic.h

// Each step takes a ledger from one version to the next; an old ledger is brought up when it is opened. Steps
// that a release has had are never changed.
constexpr std::array<const char*, 8> kSchemaSteps{
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
)sql"};
constexpr int kSchemaVersion = static_cast<int>(kSchemaSteps.size());

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

sys_seconds time_of(const SQLite::Column& column) {
  return sys_seconds{seconds{column.getInt64()}};
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
    "priced_gpus, accounts, members, member_uids";
constexpr int kPlanColumnCount = 24;

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

void bind_failure(SQLite::Statement& statement, const Recovery& recovery) {
  statement.bind(1, static_cast<std::int64_t>(recovery.job));
  statement.bind(2, static_cast<std::int64_t>(recovery.restart));
  statement.bind(3, recovery.node);
}

// SQLite makes its files with the process's umask; users' plans are nobody else's business.
void keep_private(const std::string& path) {
  ::chmod(path.c_str(), 0600);
}

}  // namespace

std::string_view to_string(Recovery::Step step) {
  for (const auto& [value, name] : kSteps) {
    if (value == step) return name;
  }
  return "?";
}

int ledger_schema_version() {
  return kSchemaVersion;
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

namespace {

// SQLite's write-ahead log wants memory that all its users share: only on a disk of this machine.
std::string journal_mode(const std::string& path) {
  struct statfs found {};
  if (::statfs(path.c_str(), &found) != 0) fail("ledger {}: {}", path, errno_text(errno));
  return on_local_disk(found.f_type) ? "WAL" : "DELETE";
}

}  // namespace

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
