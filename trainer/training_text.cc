// SPDX-License-Identifier: Apache-2.0
#include "trainer/training_text.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/error.h"

namespace stint {

TrainingText open_training_text(const std::string& path, std::int64_t sequence_length) {
  Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0)
    fail("data: cannot open {}: {}; data.path must name one text file", path, errno_text(errno));
  struct stat status {};
  if (fstat(file.get(), &status) != 0) fail("data: cannot read {}: {}", path, errno_text(errno));
  if (S_ISDIR(status.st_mode)) fail("data: {} is a folder; data.path must name one text file", path);
  if (!S_ISREG(status.st_mode)) fail("data: {} is no regular file; data.path must name one text file", path);
  if (status.st_size <= sequence_length)
    fail("data: {} has {} bytes; data.sequence_length = {} needs at least {}", path, status.st_size,
         sequence_length, sequence_length + 1);
  return {std::move(file), static_cast<std::uint64_t>(status.st_size)};
}

}  // namespace stint
