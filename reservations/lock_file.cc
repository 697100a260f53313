// SPDX-License-Identifier: Apache-2.0
#include "reservations/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.h"

namespace stint::reservations {
namespace {

std::string holder_of(int fd) {
  std::array<char, 32> text{};
  const auto length = ::pread(fd, text.data(), text.size() - 1, 0);
  std::string pid(text.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
  while (!pid.empty() && pid.back() == '\n') pid.pop_back();
  return pid.empty() ? "unknown" : pid;
}

bool is_at(const std::string& path, int fd) {
  struct stat named {
  }, held{};
  return ::stat(path.c_str(), &named) == 0 && ::fstat(fd, &held) == 0 && named.st_dev == held.st_dev &&
         named.st_ino == held.st_ino;
}

}  // namespace

LockFile::LockFile(const std::string& path) : path_(path) {
  // A holder may take its file away: a lock on that one guards nothing.
  do {
    if (fd_ >= 0) ::close(fd_);
    open();
    lock();
  } while (!is_at(path_, fd_));
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd_, 0) == 0 && ::pwrite(fd_, pid.data(), pid.size(), 0) >= 0) return;
  const int cause = errno;
  remove_if_new();
  ::close(fd_);
  fail("lock file {}: {}", path, errno_text(cause));
}

void LockFile::open() {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  is_new_ = fd_ >= 0;
  if (fd_ < 0 && errno == EEXIST) fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) fail("lock file {}: {}; its folder must exist and be writable", path_, errno_text(errno));
}

void LockFile::lock() {
  if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
  const int cause = errno;
  const std::string holder = holder_of(fd_);
  ::close(fd_);
  if (cause != EWOULDBLOCK) fail("lock file {}: {}", path_, errno_text(cause));
  fail("another stintd (process {}) holds {}; only one may run", holder, path_);
}

void LockFile::remove_if_new() noexcept {
  if (is_new_) ::unlink(path_.c_str());
}

LockFile::~LockFile() {
  ::close(fd_);
}

}  // namespace stint::reservations
