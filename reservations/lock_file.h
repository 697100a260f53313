// SPDX-License-Identifier: Apache-2.0
// One process at a time: a lock that the kernel gives back when its holder dies, however that happens.
#pragma once

#include <string>

namespace stint::reservations {

class LockFile {
 public:
  // Throws Error that names the file and, when it is taken, its holder's process id.
  explicit LockFile(const std::string& path);
  ~LockFile();
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace stint::reservations
