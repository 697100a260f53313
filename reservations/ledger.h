// SPDX-License-Identifier: Apache-2.0
// The ledger: what was promised and what was done, in one SQLite file that survives kill -9 at any point.
// Whatever stintd is about to do in Slurm is written here first. Each call is one transaction. Safe from
// several threads; one process at a time (the service holds a lock file beside it).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "reservations/plan.h"
#include "reservations/planner.h"

namespace SQLite {
class Database;
}

namespace stint::reservations {

// Something that happened to a job of a plan.
struct JobEvent {
  double t = 0;  // seconds since the epoch
  std::uint32_t job = 0;
  std::string event;   // node_failed, node_down, requeued, excluded, eligible, started, node_swapped, gone
  std::string node;    // may be empty
  std::string detail;  // may be empty
};

// Who did what to a plan, when.
struct HistoryEntry {
  double t = 0;        // seconds since the epoch
  std::string who;     // a user name, or "stintd"
  std::string action;  // booked, cancelled, extended, failed, node swapped, reservation changed, …
  std::string detail;  // may be empty
};

// A plan as somebody wants it, while Slurm's reservations are brought there.
struct PlanChange {
  Plan wanted;  // its id is the plan's
  HistoryEntry entry;
};

// Node-seconds of a plan's time.
struct NodeSeconds {
  std::int64_t used = 0;
  std::int64_t idle = 0;
  std::int64_t lost = 0;

  std::int64_t sum() const { return used + idle + lost; }
  NodeSeconds& operator+=(const NodeSeconds& other);
};

// What was measured of a segment on one local day.
struct UsageRow {
  std::int64_t plan = 0;
  std::size_t k = 0;                 // of the segment
  std::chrono::sys_seconds day{};    // its first second
  std::chrono::sys_seconds until{};  // measured up to then
  NodeSeconds spent;
};

// A line of some plan's history with its place among all.
struct HistoryLine {
  std::int64_t id = 0;
  std::int64_t plan = 0;
  HistoryEntry entry;
};

// A notice on its way out. Its key says what it is about: the same is never told twice.
struct OutboxEntry {
  std::int64_t id = 0;
  std::string key;
  std::string body;  // for whoever delivers it; forgotten once it is delivered or given up
  double made = 0;   // seconds since the epoch
  double next = 0;   // when to try
  int attempts = 0;  // that failed
};

// Up to where history was told, and since when notices are sent at all.
struct NoticeMark {
  std::int64_t history = 0;
  double since = 0;
};

// An open segment in which no job is.
struct IdleRow {
  std::int64_t plan = 0;
  std::size_t k = 0;
  std::chrono::sys_seconds since{};
  std::chrono::sys_seconds told{};  // when its history said that it will be released; zero: not yet
  std::chrono::sys_seconds seen{};  // when it was last found idle

  bool operator==(const IdleRow&) const = default;
};

// A fast requeue on its way. The row is written before the first change in Slurm and closed after the last.
//
//   down ──> requeue ──> hold ──> start ──> done
struct Recovery {
  enum class Step { kDown, kRequeue, kHold, kStart, kDone };

  std::int64_t id = 0;
  std::uint32_t job = 0;
  std::uint32_t restart = 0;  // the job's restart count when the failure was noticed
  std::string node;           // empty: the job was requeued by somebody else
  Step step = Step::kDown;
  double noticed = 0;  // seconds since the epoch
};

std::string_view to_string(Recovery::Step step);

// What stintd does with a segment's nodes before it begins. The row is written before the first change in
// Slurm and closed after the last.
struct Opening {
  enum class State {
    kBegun,     // its reservation may or may not exist
    kReserved,  // its reservation has been seen
    kClosed,    // over: reservation and jobs are gone
  };

  std::int64_t plan = 0;
  std::size_t k = 0;  // of the segment
  std::string reservation;
  State state = State::kBegun;
  std::string note;  // what stood in the way; once closed, how it went
};

// The health check of one node in an opening. The row is written before its job is submitted.
struct NodeCheck {
  enum class State {
    kAsked,  // its job is on its way, or will be
    kGood,
    kBad,      // and to be drained
    kDrained,  // bad, and drained
    kUnknown,  // nobody can say
  };

  std::string node;
  std::uint32_t job = 0;  // 0: not known to have been submitted
  State state = State::kAsked;
  std::string found;  // what is bad, or why nobody can say
};

// What this stintd writes; an older ledger is brought up when it is opened.
int ledger_schema_version();

// Of statfs's f_type: known to be no file system that other machines may mount.
bool on_local_disk(long file_system);

class Ledger {
 public:
  // Opens or makes the file. Throws Error that names it: not writable, not a ledger, made by a newer version.
  explicit Ledger(const std::string& path);
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // Writes the plan as an intent (Phase::kBooking) and returns its id.
  std::int64_t add_plan(const Plan& plan);
  // Removes an intent that came to nothing.
  void drop_plan(std::int64_t plan);
  // Phase, reason, force and refund as the plan has them now, and the line of its history, if any. Throws
  // Error where may_follow() forbids it; then nothing has changed.
  void set_phase(const Plan& plan, const std::optional<HistoryEntry>& entry = {});
  void set_segment(std::int64_t plan, std::size_t k, const Segment& segment, const HistoryEntry& entry);

  // Its tags as the plan has them now, whatever its phase.
  void set_tags(const Plan& plan, const HistoryEntry& entry);

  // The intent to change a booked plan; it has none yet.
  void begin_change(const PlanChange& change);
  std::optional<PlanChange> open_change(std::int64_t plan) const;
  // The plan becomes what was wanted, and its history says so.
  void finish_change(std::int64_t plan);
  void drop_change(std::int64_t plan);
  // Plans that end at `since` or later, oldest first.
  std::vector<Plan> plans_since(std::chrono::sys_seconds since) const;
  // Plans with a segment that overlaps the window, oldest first.
  std::vector<Plan> plans_between(Window window) const;
  // What the account's plans that begin first in the window cost, less what they gave back. Where a plan is
  // being changed, the dearer of both counts.
  std::int64_t charged(const std::string& account, const std::string& currency, Window window) const;
  // The newest plan of that name.
  std::optional<Plan> find_plan(const std::string& name) const;
  std::optional<Plan> plan(std::int64_t id) const;

  void add_history(std::int64_t plan, const HistoryEntry& entry);
  std::vector<HistoryEntry> history(std::int64_t plan) const;  // oldest first
  // Of all plans, the oldest first.
  std::vector<HistoryLine> history_after(std::int64_t line, std::size_t most) const;

  // Where notices begin: at the end of history, unless there is a mark already.
  NoticeMark start_notices(double now);
  void stop_notices();  // removes the mark: what happens from now on is not told later either
  // Those whose key is new go out. With `history`, the mark moves there at once.
  void add_notices(const std::vector<OutboxEntry>& notices, std::optional<std::int64_t> history = {});
  // The oldest one that is to be tried at `now`.
  std::optional<OutboxEntry> next_notice(double now) const;
  void retry_notice(std::int64_t notice, double next);  // one more attempt has failed
  void close_notice(std::int64_t notice);               // delivered, or given up

  std::vector<IdleRow> idle_rows() const;
  // All there are, and what is to be said of them in their plans' history.
  void set_idle_rows(const std::vector<IdleRow>& rows,
                     const std::vector<std::pair<std::int64_t, HistoryEntry>>& entries);

  // Rows of the same plan, segment and day are replaced.
  void set_usage(const std::vector<UsageRow>& rows);
  std::vector<UsageRow> usage(std::int64_t plan) const;  // by segment and day

  void add_event(const JobEvent& event);
  std::vector<JobEvent> events(std::uint32_t job) const;  // oldest first

  // Returns the id; none when this job, restart and node already has a row, open or done. A row that was done
  // before `queued`, when this start of the job was asked for, belongs to another life of the same job id.
  std::optional<std::int64_t> add_recovery(const Recovery& recovery, std::chrono::sys_seconds queued);
  void set_step(std::int64_t recovery, Recovery::Step step);
  std::vector<Recovery> open_recoveries() const;
  bool recovers(std::uint32_t job, std::uint32_t restart) const;  // an open row

  void begin_opening(const Opening& opening);
  void set_opening(const Opening& opening);  // its state and note
  void close_opening(const Opening& opening, const HistoryEntry& entry);
  std::vector<Opening> open_openings() const;
  std::optional<Opening> opening(std::int64_t plan, std::size_t k) const;
  void add_check(const Opening& opening, const std::string& node);
  void set_check_job(const Opening& opening, const std::string& node, std::uint32_t job);
  // A text that is there already stays: what the node itself has said is more exact.
  void set_check(const Opening& opening, const std::string& node, NodeCheck::State state,
                 const std::string& found);
  // What the node says of itself, while nothing is known of it yet; its state follows from its job.
  void note_findings(const Opening& opening, const std::string& node, const std::string& found);
  std::vector<NodeCheck> checks(std::int64_t plan, std::size_t k) const;  // by node

 private:
  template <typename Work>
  auto guarded(Work work) const;
  template <typename Work>
  auto write(std::string_view name, Work work);
  void check_whole();
  void prepare_schema();

  std::string path_;
  mutable std::mutex mutex_;
  std::unique_ptr<SQLite::Database> database_;
};

}  // namespace stint::reservations
