// SPDX-License-Identifier: Apache-2.0
#include "reservations/ledger_copy.h"

#include <SQLiteCpp/Backup.h>
#include <SQLiteCpp/SQLiteCpp.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "reservations/ledger.h"

namespace stint::reservations {
namespace {

constexpr int kBusyMilliseconds = 10'000;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

void sync_path(const std::string& path) {
  const Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (descriptor.get() < 0 || ::fsync(descriptor.get()) != 0)
    fail("{}: cannot be written to its disk: {}", path, errno_text(errno));
}

std::string folder_of(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

// A new empty file beside `path`, 0600, that is gone again unless it takes its place.
class Draft {
 public:
  explicit Draft(const std::string& path) : path_(path), draft_(path + ".XXXXXX") {
    const Descriptor made(::mkostemp(draft_.data(), O_CLOEXEC));
    if (made.get() < 0) fail("{}: cannot be written: {}", path, errno_text(errno));
  }
  ~Draft() {
    if (!draft_.empty()) ::unlink(draft_.c_str());
  }
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;

  const std::string& name() const { return draft_; }
  void take_its_place() {
    sync_path(draft_);
    if (::rename(draft_.c_str(), path_.c_str()) != 0)
      fail("{}: cannot be replaced: {}", path_, errno_text(errno));
    draft_.clear();
    sync_path(folder_of(path_));
  }

 private:
  std::string path_;
  std::string draft_;
};

bool exists(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0;
}

// Throws Error unless it is a whole ledger that this stintd can read.
void check_is_ledger(SQLite::Database& database, const std::string& path) {
  const int version = database.execAndGet("PRAGMA user_version").getInt();
  if (version < 1 || !database.tableExists("plans") || !database.tableExists("segments"))
    fail("{}: is no ledger of stintd", path);
  if (version > ledger_schema_version()) {
    fail("{}: was made by a newer stintd (version {}, this one knows {}); update stintd", path, version,
         ledger_schema_version());
  }
  const auto state = database.execAndGet("PRAGMA integrity_check").getString();
  if (state != "ok") fail("{}: is damaged: {}; take another copy", path, state);
}

// All pages as of one moment, whatever is written meanwhile. The copy needs no second file beside it.
void copy_database(const std::string& from, const std::string& to) {
  SQLite::Database source(from, SQLite::OPEN_READONLY, kBusyMilliseconds);
  check_is_ledger(source, from);
  SQLite::Database target(to, SQLite::OPEN_READWRITE, kBusyMilliseconds);
  SQLite::Backup(target, source).executeStep(-1);
  target.exec("PRAGMA journal_mode = DELETE");
  check_is_ledger(target, to);
}

void copy_checked(const std::string& from, const std::string& to) {
  if (!exists(from)) fail("{}: there is no such file", from);
  try {
    copy_database(from, to);
  } catch (const SQLite::Exception& error) {
    fail("{}: {}; is it a ledger of stintd?", from, error.what());
  }
}

// What stands in its log is in the file afterwards. A ledger too damaged for that keeps its log beside it.
void fold_log(const std::string& ledger) {
  try {
    SQLite::Database database(ledger, SQLite::OPEN_READWRITE, kBusyMilliseconds);
    database.execAndGet("PRAGMA wal_checkpoint(TRUNCATE)");
    database.exec("PRAGMA journal_mode = DELETE");
  } catch (const SQLite::Exception& error) {
    spdlog::warn("ledger {}: {}", ledger, error.what());
  }
}

std::string aside_name(const std::string& ledger) {
  std::string name = fmt::format("{}.before-restore-{}", ledger, std::time(nullptr));
  for (int i = 1; exists(name); ++i)
    name = fmt::format("{}.before-restore-{}-{}", ledger, std::time(nullptr), i);
  return name;
}

// A second name for the ledger, so that at every moment there is one in its place.
std::string keep_aside(const std::string& ledger) {
  if (!exists(ledger)) return {};
  fold_log(ledger);
  const std::string aside = aside_name(ledger);
  for (const char* log : {"-wal", "-shm"}) {
    if (exists(ledger + log) && ::rename((ledger + log).c_str(), (aside + log).c_str()) != 0)
      fail("{}{}: cannot be moved aside: {}", ledger, log, errno_text(errno));
  }
  if (::link(ledger.c_str(), aside.c_str()) != 0)
    fail("{}: cannot be kept as {}: {}", ledger, aside, errno_text(errno));
  return aside;
}

// root may restore for SlurmUser: the new file belongs to whom the old one, else its folder, belongs.
void give_to_owner(const std::string& path, const std::string& ledger) {
  struct stat status {};
  if (::geteuid() != 0) return;
  if (::stat(ledger.c_str(), &status) != 0 && ::stat(folder_of(ledger).c_str(), &status) != 0) return;
  if (::chown(path.c_str(), status.st_uid, status.st_gid) != 0)
    fail("{}: cannot be given to uid {}: {}", path, status.st_uid, errno_text(errno));
}

}  // namespace

void back_up_ledger(const std::string& ledger, const std::string& file) {
  Draft draft(file);
  copy_checked(ledger, draft.name());
  draft.take_its_place();
}

std::string restore_ledger(const std::string& file, const std::string& ledger) {
  Draft draft(ledger);
  copy_checked(file, draft.name());
  give_to_owner(draft.name(), ledger);
  const std::string aside = keep_aside(ledger);
  draft.take_its_place();
  return aside;
}

}  // namespace stint::reservations
