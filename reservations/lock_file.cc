// SPDX-License-Identifier: Apache-2.0
#include "reservations/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
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

}  // namespace

LockFile::LockFile(const std::string& path) {
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) fail("lock file {}: {}; its folder must exist and be writable", path, errno_text(errno));
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    const int cause = errno;
    const std::string holder = holder_of(fd_);
    ::close(fd_);
    if (cause != EWOULDBLOCK) fail("lock file {}: {}", path, errno_text(cause));
    fail("another stintd (process {}) holds {}; only one may run", holder, path);
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd_, 0) != 0 || ::pwrite(fd_, pid.data(), pid.size(), 0) < 0) {
    const int cause = errno;
    ::close(fd_);
    fail("lock file {}: {}", path, errno_text(cause));
  }
}

LockFile::~LockFile() {
  ::close(fd_);
}

}  // namespace stint::reservations
