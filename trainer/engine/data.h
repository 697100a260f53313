// SPDX-License-Identifier: Apache-2.0
// Training text as byte-level tokens (token = byte). The sequence of a slot is a pure function of (seed,
// step, slot), so no reader has a state and any rank can play any slot. Reads with pread: a file that shrinks
// or fails under a run is an error with a name, not a SIGBUS. Safe from several threads.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "trainer/descriptor.h"

namespace stint::engine {

class ByteText {
 public:
  // Throws Error that names the path and the cause: missing, a folder, not readable, shorter than one
  // sequence of `sequence_length` + 1 bytes, or a vocabulary too small for bytes.
  ByteText(std::string path, std::int64_t sequence_length, std::int64_t vocab_size, std::uint64_t seed);

  std::uint64_t bytes() const { return bytes_; }
  // Where the slot's sequence begins in the file.
  std::uint64_t offset_of(std::int64_t step, std::int64_t slot) const;
  // Fills sequence_length + 1 tokens. Throws Error when the file cannot be read (any more).
  void read(std::int64_t step, std::int64_t slot, std::span<std::int64_t> tokens) const;

 private:
  std::string path_;
  Descriptor file_;
  std::uint64_t bytes_ = 0;
  std::int64_t sequence_length_;
  std::uint64_t key_;
};

}  // namespace stint::engine
