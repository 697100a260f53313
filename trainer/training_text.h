// SPDX-License-Identifier: Apache-2.0
// The file that a recipe's data.path names, as everybody who opens it must find it: the supervisor once
// before anything is made for a run, then each worker.
#pragma once

#include <cstdint>
#include <string>

#include "trainer/descriptor.h"

namespace stint {

struct TrainingText {
  Descriptor file;
  std::uint64_t bytes = 0;
};

// Throws Error that names the path, the cause and the key: missing, not readable, no regular file, or without
// room for one sequence and the token after it. Never waits.
TrainingText open_training_text(const std::string& path, std::int64_t sequence_length);

}  // namespace stint
