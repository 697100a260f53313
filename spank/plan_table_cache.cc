// SPDX-License-Identifier: Apache-2.0
#include "spank/plan_table_cache.h"

#include <cerrno>

#include "base/error.h"
#include "base/ini.h"

namespace stint::spank {
namespace {

constexpr char kRemedy[] = "ask the administrator whether stintd is running";

}  // namespace

// A rename always brings another inode or change time, so equal status means equal content.
bool PlanTableCache::is_current(const std::string& path, const struct stat& status) const {
  return table_ && path == path_ && status.st_dev == status_.st_dev && status.st_ino == status_.st_ino &&
         status.st_size == status_.st_size && status.st_mtim.tv_sec == status_.st_mtim.tv_sec &&
         status.st_mtim.tv_nsec == status_.st_mtim.tv_nsec &&
         status.st_ctim.tv_sec == status_.st_ctim.tv_sec && status.st_ctim.tv_nsec == status_.st_ctim.tv_nsec;
}

std::shared_ptr<const PlanTable> PlanTableCache::read(const std::string& path) {
  const std::lock_guard lock(mutex_);
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    fail("plan table: cannot be read ({}); {}", errno_text(errno), kRemedy);
  }
  if (is_current(path, status)) return table_;
  try {
    // A file that is replaced between stat and here is read again next time, under its new status.
    auto table = std::make_shared<const PlanTable>(
        PlanTable::parse(read_file(path, PlanTable::kMaxBytes), "plan table"));
    table_ = table;
    path_ = path;
    status_ = status;
    return table;
  } catch (const Error& error) {
    fail("plan table: {}; {}", error.what(), kRemedy);
  }
}

std::shared_ptr<const PlanTable> PlanTableCache::last_known(const std::string& path) {
  try {
    return read(path);
  } catch (const Error&) {
    const std::lock_guard lock(mutex_);
    if (table_) return table_;
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0 && errno == ENOENT) return nullptr;
    throw;
  }
}

}  // namespace stint::spank
