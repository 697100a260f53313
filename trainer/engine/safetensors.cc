// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/final_error.h"
#include "base/text.h"

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

namespace stint::engine {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxHeader = 100'000'000;  // the format's own limit
constexpr std::size_t kLine = 64;
constexpr std::size_t kReadBytes = 1 << 20;

std::string hex(XXH128_hash_t hash) {
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

class Hasher {
 public:
  Hasher() { XXH3_128bits_reset(&state_); }
  void add(const void* data, std::size_t bytes) {
    XXH3_128bits_update(&state_, data, bytes);
    digest_.bytes += bytes;
  }
  Digest finish() {
    digest_.xxh3_128 = hex(XXH3_128bits_digest(&state_));
    return digest_;
  }

 private:
  XXH3_state_t state_{};
  Digest digest_;
};

class NewFile {
 public:
  explicit NewFile(std::filesystem::path path) : path_(std::move(path)) {
    file_ = Descriptor(open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (file_.get() < 0) fail_write("cannot create " + path_.string(), errno, kOtherRunDirectory);
  }

  void write(const void* data, std::size_t bytes) {
    hasher_.add(data, bytes);
    const auto* at = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t done = ::write(file_.get(), at, bytes);
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) fail_here(errno);
      at += done;
      bytes -= static_cast<std::size_t>(done);
    }
  }
  Digest finish() {
    if (fsync(file_.get()) != 0) fail_here(errno);
    if (close(file_.release()) != 0) fail_here(errno);
    return hasher_.finish();
  }

 private:
  [[noreturn]] void fail_here(int number) const {
    fail_write("cannot write " + path_.string(), number, kOtherRunDirectory);
  }

  std::filesystem::path path_;
  Descriptor file_;
  Hasher hasher_;
};

std::string header_of(const std::vector<TensorView>& tensors) {
  nlohmann::ordered_json header{{"__metadata__", {{"format", "pt"}}}};
  std::uint64_t offset = 0;
  for (const auto& t : tensors) {
    const std::uint64_t end = offset + t.data.size_bytes();
    if (t.piece_of) header["__metadata__"][t.name] = std::to_string(*t.piece_of);
    header[t.name] = {{"dtype", "F32"}, {"shape", t.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.append((kLine - (sizeof(std::uint64_t) + text.size()) % kLine) % kLine, ' ');
  return text;
}

// The metadata holds text only.
std::optional<std::size_t> piece_of(const json& document, const std::string& name) {
  const auto metadata = document.find("__metadata__");
  if (metadata == document.end() || !metadata->contains(name)) return std::nullopt;
  const auto& text = metadata->at(name).get_ref<const std::string&>();
  return static_cast<std::size_t>(parse_integer(text, 0, std::numeric_limits<std::int64_t>::max()));
}

Descriptor open_for_reading(const std::filesystem::path& path) {
  Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) fail("cannot open {}: {}", path.string(), errno_text(errno));
  return file;
}

// Bytes actually read; fewer than asked only at the end of the file.
std::size_t read_at(const Descriptor& file, const std::filesystem::path& path, void* data, std::size_t bytes,
                    std::uint64_t offset) {
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t got =
        pread(file.get(), static_cast<char*>(data) + done, bytes - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("cannot read {}: {}", path.string(), errno_text(errno));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

}  // namespace

Digest write_safetensors(const std::filesystem::path& path, const std::vector<TensorView>& tensors,
                         const BlockSource& source) {
  NewFile file(path);
  const std::string header = header_of(tensors);
  const std::uint64_t length = header.size();
  file.write(&length, sizeof(length));
  file.write(header.data(), header.size());
  for (const auto& t : tensors)
    for (std::size_t at = 0; at < t.data.size(); at += kBlockFloats) {
      auto block = t.data.subspan(at, std::min(kBlockFloats, t.data.size() - at));
      if (source) block = source(block);
      file.write(block.data(), block.size_bytes());
    }
  return file.finish();
}

Digest write_bytes(const std::filesystem::path& path, std::string_view content) {
  NewFile file(path);
  file.write(content.data(), content.size());
  return file.finish();
}

Digest digest_of(const std::filesystem::path& path) {
  const Descriptor file = open_for_reading(path);
  Hasher hasher;
  std::vector<char> block(kReadBytes);
  std::uint64_t offset = 0;
  while (const std::size_t got = read_at(file, path, block.data(), block.size(), offset)) {
    hasher.add(block.data(), got);
    offset += got;
  }
  return hasher.finish();
}

SafetensorsReader::SafetensorsReader(std::filesystem::path path)
    : path_(std::move(path)), file_(open_for_reading(path_)) {
  struct stat status {};
  if (fstat(file_.get(), &status) != 0) fail("cannot read {}: {}", path_.string(), errno_text(errno));
  const auto bytes = static_cast<std::uint64_t>(status.st_size);
  std::uint64_t length = 0;
  if (read_at(file_, path_, &length, sizeof(length), 0) != sizeof(length))
    fail("{} is too short for a safetensors file", path_.string());
  if (length > kMaxHeader || length > bytes - sizeof(length))
    fail("{} is no safetensors file: a header of {} bytes in a file of {}", path_.string(), length, bytes);
  std::string header(length, '\0');
  if (read_at(file_, path_, header.data(), length, sizeof(length)) != length)
    fail("{} ends inside its header", path_.string());
  data_offset_ = sizeof(length) + length;
  parse(header, bytes - data_offset_);
}

void SafetensorsReader::parse(std::string_view header, std::uint64_t data_bytes) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  try {
    const json document = json::parse(header);
    if (!document.is_object()) fail("{} has a damaged header: it is no JSON object", path_.string());
    for (const auto& [name, value] : document.items()) {
      if (name == "__metadata__") continue;
      Entry entry;
      entry.type = value.at("dtype").get<std::string>();
      entry.shape = value.at("shape").get<std::vector<std::int64_t>>();
      const auto offsets = value.at("data_offsets").get<std::array<std::uint64_t, 2>>();
      entry.begin = offsets[0];
      entry.end = offsets[1];
      entry.piece_of = piece_of(document, name);
      ranges.emplace_back(entry.begin, entry.end);
      entries_.emplace(name, std::move(entry));
    }
  } catch (const json::exception& error) {
    fail("{} has a damaged header: {}", path_.string(), error.what());
  }
  std::sort(ranges.begin(), ranges.end());
  std::uint64_t at = 0;
  for (const auto& [begin, end] : ranges) {
    if (begin != at || end < begin) fail("{} has tensors that overlap or leave a hole", path_.string());
    at = end;
  }
  if (at != data_bytes) fail("{} has {} bytes of data, its header says {}", path_.string(), data_bytes, at);
}

void SafetensorsReader::check(const std::string& name, const std::vector<std::int64_t>& shape) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) fail("{} has no tensor {}", path_.string(), name);
  const Entry& entry = it->second;
  if (entry.type != "F32") fail("{}: {} is {}, not F32", path_.string(), name, entry.type);
  if (entry.shape != shape)
    fail("{}: {} has shape [{}], the recipe's model [{}]", path_.string(), name, fmt::join(entry.shape, ", "),
         fmt::join(shape, ", "));
  std::uint64_t bytes = sizeof(float);
  for (std::int64_t extent : shape) bytes *= static_cast<std::uint64_t>(extent);
  if (entry.end - entry.begin != bytes)
    fail("{}: {} has {} bytes, not {}", path_.string(), name, entry.end - entry.begin, bytes);
}

void SafetensorsReader::read(const std::string& name, std::size_t first, std::span<float> values) const {
  const Entry& entry = entries_.at(name);
  const std::uint64_t begin = entry.begin + first * sizeof(float);
  if (begin + values.size_bytes() > entry.end)
    fail("{}: {} has no {} floats from {} on", path_.string(), name, values.size(), first);
  if (read_at(file_, path_, values.data(), values.size_bytes(), data_offset_ + begin) != values.size_bytes())
    fail("{} ends inside {}", path_.string(), name);
}

}  // namespace stint::engine
