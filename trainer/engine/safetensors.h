// SPDX-License-Identifier: Apache-2.0
// The safetensors format: u64 little-endian header length, JSON header, raw little-endian data without holes.
// The header is padded with spaces so that the data starts on a 64-byte line. fp32 only; no torch.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "trainer/descriptor.h"

namespace stint::engine {

struct TensorView {
  std::string name;
  std::vector<std::int64_t> shape;
  std::span<const float> data;
  std::optional<std::size_t> piece_of{};  // where it begins in the whole tensor, if it is but a piece
};

struct Digest {
  std::uint64_t bytes = 0;
  std::string xxh3_128;  // 32 hex digits
  bool operator==(const Digest&) const = default;
};

// A tensor's data is written in blocks of so many elements, and a shorter last one.
constexpr std::size_t kBlockFloats = 1 << 16;
// What is written in place of a block; good until the next call.
using BlockSource = std::function<std::span<const float>(std::span<const float>)>;

// Writes and fsyncs a new file, block by block in the order of the tensors. Throws Error that names path and
// cause.
Digest write_safetensors(const std::filesystem::path& path, const std::vector<TensorView>& tensors,
                         const BlockSource& source = {});
Digest write_bytes(const std::filesystem::path& path, std::string_view content);

// Size and hash of a whole file. Throws Error.
Digest digest_of(const std::filesystem::path& path);

class SafetensorsReader {
 public:
  // Reads and checks the header: its length against the file, JSON, offsets in range without hole or overlap.
  // Throws Error that names the file and what is wrong with it.
  explicit SafetensorsReader(std::filesystem::path path);

  struct Entry {
    std::string type;
    std::vector<std::int64_t> shape;
    std::uint64_t begin = 0, end = 0;       // within the data
    std::optional<std::size_t> piece_of{};  // as TensorView's; kept in the file's metadata
  };
  const std::map<std::string, Entry>& entries() const { return entries_; }
  std::uint64_t data_offset() const { return data_offset_; }
  // Throws Error unless the file has this tensor as fp32 in this shape.
  void check(const std::string& name, const std::vector<std::int64_t>& shape) const;
  // After check(): so many elements of the tensor from `first` on.
  void read(const std::string& name, std::size_t first, std::span<float> values) const;

 private:
  void parse(std::string_view header, std::uint64_t data_bytes);

  std::filesystem::path path_;
  Descriptor file_;
  std::uint64_t data_offset_ = 0;
  std::map<std::string, Entry> entries_;
};

}  // namespace stint::engine
