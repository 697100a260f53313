// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/tensorboard.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/run_directory.h"
#include "event.pb.h"

namespace stint::engine {
namespace {

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82F63B78U : 0);
    table[i] = value;
  }
  return table;
}

constexpr auto kTable = make_table();

template <typename T>
std::string_view bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

// u64 length, u32 masked CRC of the length, data, u32 masked CRC of the data; all little-endian.
std::string frame(const tensorboard::Event& event) {
  const std::string data = event.SerializeAsString();
  const std::uint64_t length = data.size();
  std::string record(bytes_of(length));
  record += bytes_of(masked_crc32c(bytes_of(length)));
  record += data;
  record += bytes_of(masked_crc32c(data));
  return record;
}

tensorboard::Event event_now(std::int64_t step) {
  tensorboard::Event event;
  event.set_wall_time(unix_seconds());
  event.set_step(step);
  return event;
}

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "host";
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t crc = ~0U;
  for (const char byte : bytes) crc = kTable[(crc ^ static_cast<unsigned char>(byte)) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

std::uint32_t masked_crc32c(std::string_view bytes) {
  const std::uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8U;
}

EventWriter::EventWriter(const std::filesystem::path& folder, std::int64_t step) {
  // TensorBoard reads a run's files in the order of their names.
  const auto start = static_cast<std::int64_t>(unix_seconds());
  for (int number = 0; file_.get() < 0; ++number) {
    path_ = folder / fmt::format("events.out.tfevents.{}.{}.{}.{}", start, host_name(), getpid(), number);
    file_ = Descriptor(open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644));
    if (file_.get() < 0 && errno != EEXIST)
      fail("tensorboard: cannot create {}: {}", path_.string(), errno_text(errno));
  }
  auto version = event_now(0);
  version.set_file_version("brain.Event:2");
  std::string records = frame(version);
  if (step > 0) {
    // Readers drop what they hold at and past the step of a session start; step itself was done.
    auto session = event_now(step + 1);
    session.mutable_session_log()->set_status(tensorboard::SessionLog::START);
    records += frame(session);
  }
  write(records);
}

void EventWriter::scalars(std::int64_t step, const std::vector<std::pair<std::string, double>>& values) {
  auto event = event_now(step);
  for (const auto& [tag, value] : values) {
    auto* entry = event.mutable_summary()->add_value();
    entry->set_tag(tag);
    entry->set_simple_value(static_cast<float>(value));
  }
  write(frame(event));
}

void EventWriter::write(const std::string& record) {
  const ssize_t done = ::write(file_.get(), record.data(), record.size());
  if (done != static_cast<ssize_t>(record.size()))
    fail("tensorboard: cannot write {}: {}", path_.string(), done < 0 ? errno_text(errno) : "no space left");
}

}  // namespace stint::engine
