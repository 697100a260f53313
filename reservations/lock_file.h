// SPDX-License-Identifier: Apache-2.0
// One process at a time: a lock that the kernel gives back when its holder dies, however that happens.
#pragma once

#include <string>

namespace stint::reservations {

class LockFile {
 public:
  // Throws Error that names the file and, when it is taken, its holder's process id.
  explicit LockFile(const std::string& path);
  // Takes the file away again where this process made it: nothing is to be guarded after all.
  void remove_if_new() noexcept;
  ~LockFile();
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;

 private:
  void open();
  void lock();

  std::string path_;
  int fd_ = -1;
  bool is_new_ = false;
};

}  // namespace stint::reservations
