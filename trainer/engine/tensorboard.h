// SPDX-License-Identifier: Apache-2.0
// TensorBoard event files: length-framed records with masked CRC-32C, one Event message each. No threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trainer/descriptor.h"

namespace stint::engine {

// CRC-32C (Castagnoli, RFC 3720 appendix B.4) and the form in which records carry it.
std::uint32_t crc32c(std::string_view bytes);
std::uint32_t masked_crc32c(std::string_view bytes);

class EventWriter {
 public:
  // Creates a new events.out.tfevents.* file in the folder. When the run resumes (`step` > 0), a session
  // start makes TensorBoard drop what an earlier file holds past that step. Throws Error that names the file.
  EventWriter(const std::filesystem::path& folder, std::int64_t step);

  // One write(2): whole records reach the file even when the process is killed next. Throws Error.
  void scalars(std::int64_t step, const std::vector<std::pair<std::string, double>>& values);

  const std::filesystem::path& path() const { return path_; }

 private:
  void write(const std::string& record);

  std::filesystem::path path_;
  Descriptor file_;
};

}  // namespace stint::engine
