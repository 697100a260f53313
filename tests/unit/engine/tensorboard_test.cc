// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/tensorboard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "base/ini.h"
#include "event.pb.h"
#include "tiny.h"

namespace stint::engine {
namespace {

// The records of a file; checks both checksums of each.
std::vector<tensorboard::Event> records(const std::filesystem::path& path) {
  const std::string file = read_file(path.string(), 1 << 20);
  std::vector<tensorboard::Event> events;
  for (std::size_t at = 0; at < file.size();) {
    std::uint64_t length = 0;
    std::uint32_t crc = 0;
    std::memcpy(&length, &file.at(at), 8);
    std::memcpy(&crc, &file.at(at + 8), 4);
    EXPECT_EQ(crc, masked_crc32c(std::string_view(file).substr(at, 8)));
    const auto data = std::string_view(file).substr(at + 12, length);
    std::memcpy(&crc, &file.at(at + 12 + length), 4);
    EXPECT_EQ(crc, masked_crc32c(data));
    EXPECT_TRUE(events.emplace_back().ParseFromArray(data.data(), static_cast<int>(data.size())));
    at += 16 + length;
  }
  return events;
}

TEST(TensorBoard, ChecksumIsThatOfRfc3720) {
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43U);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
}

TEST(TensorBoard, ScalarsAreReadBack) {
  const TemporaryFolder folder;
  EventWriter writer(folder.path, 0);
  writer.scalars(5, {{"loss", 2.5}, {"grad_norm", 0.25}});
  EXPECT_THAT(writer.path().filename().string(), testing::StartsWith("events.out.tfevents."));
  const auto events = records(writer.path());
  ASSERT_EQ(events.size(), 2);
  EXPECT_EQ(events[0].file_version(), "brain.Event:2");
  EXPECT_GT(events[0].wall_time(), 1.7e9);
  EXPECT_EQ(events[1].step(), 5);
  ASSERT_EQ(events[1].summary().value_size(), 2);
  EXPECT_EQ(events[1].summary().value(0).tag(), "loss");
  EXPECT_EQ(events[1].summary().value(0).simple_value(), 2.5);
  EXPECT_EQ(events[1].summary().value(1).simple_value(), 0.25);
}

TEST(TensorBoard, ResumedRunStartsASessionThatDropsLaterSteps) {
  const TemporaryFolder folder;
  const EventWriter first(folder.path, 0), resumed(folder.path, 40);
  EXPECT_NE(first.path(), resumed.path());
  const auto events = records(resumed.path());
  ASSERT_EQ(events.size(), 2);
  EXPECT_EQ(events[1].session_log().status(), tensorboard::SessionLog::START);
  EXPECT_EQ(events[1].step(), 41);
}

TEST(TensorBoard, FolderThatIsNotThereIsNamed) {
  EXPECT_THAT(
      [] { EventWriter("/nowhere", 0); },
      testing::ThrowsMessage<Error>(testing::HasSubstr("tensorboard: cannot create /nowhere/events")));
}

}  // namespace
}  // namespace stint::engine
