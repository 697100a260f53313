// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "base/ini.h"
#include "tiny.h"

namespace stint::engine {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

std::string file_of(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof(length));
  return file + header + std::string(data_bytes, '\0');
}

TEST(Safetensors, WhatIsWrittenIsReadBack) {
  const TemporaryFolder folder;
  const std::vector<float> a{1, 2, 3, 4, 5, 6}, b{-0.5f};
  const auto digest = write_safetensors(folder.path / "f", {{"a", {2, 3}, a}, {"b", {1}, b}});
  EXPECT_EQ(digest, digest_of(folder.path / "f"));
  EXPECT_EQ(digest.bytes, std::filesystem::file_size(folder.path / "f"));
  const SafetensorsReader file(folder.path / "f");
  EXPECT_EQ(file.entries().size(), 2);
  EXPECT_EQ(file.data_offset() % 64, 0);
  std::vector<float> read(6);
  file.check("a", {2, 3});
  file.read("a", 0, read);
  EXPECT_EQ(read, a);
  EXPECT_THAT([&] { file.check("a", {3, 2}); }, ThrowsMessage<Error>(HasSubstr("a has shape [2, 3]")));
  EXPECT_THAT([&] { file.check("c", {1}); }, ThrowsMessage<Error>(HasSubstr("no tensor c")));
}

TEST(Safetensors, NeverOverwritesAFile) {
  const TemporaryFolder folder;
  write_text(folder.path / "f", "mine");
  EXPECT_THAT([&] { write_bytes(folder.path / "f", "x"); }, ThrowsMessage<Error>(HasSubstr("File exists")));
}

TEST(Safetensors, DamagedHeadersAreRefusedWithTheirCause) {
  const TemporaryFolder folder;
  const auto reading = [&](const std::string& content) {
    const auto path = write_text(folder.path / "f", content);
    return [path] { SafetensorsReader{path}; };
  };
  const auto entry = [](const std::string& offsets) {
    return R"({"a":{"dtype":"F32","shape":[2],"data_offsets":)" + offsets + "}}";
  };
  EXPECT_THAT(reading(""), ThrowsMessage<Error>(HasSubstr("too short")));
  EXPECT_THAT(reading("1234567"), ThrowsMessage<Error>(HasSubstr("too short")));
  EXPECT_THAT(reading(std::string(64, '\xff')), ThrowsMessage<Error>(HasSubstr("no safetensors file")));
  EXPECT_THAT(reading(file_of("{", 0)), ThrowsMessage<Error>(HasSubstr("damaged header")));
  EXPECT_THAT(reading(file_of("[]", 0)), ThrowsMessage<Error>(HasSubstr("no JSON object")));
  EXPECT_THAT(reading(file_of(R"({"a":3})", 0)), ThrowsMessage<Error>(HasSubstr("damaged header")));
  EXPECT_THAT(reading(file_of(entry("[0,8]"), 7)), ThrowsMessage<Error>(HasSubstr("has 7 bytes of data")));
  EXPECT_THAT(reading(file_of(entry("[4,8]"), 8)),
              ThrowsMessage<Error>(HasSubstr("overlap or leave a hole")));
  EXPECT_THAT(reading(file_of(entry("[-1,8]"), 8)), ThrowsMessage<Error>(HasSubstr("hole")));
  EXPECT_THAT(reading(file_of(entry("[0,18446744073709551615]"), 8)),
              ThrowsMessage<Error>(HasSubstr("has 8 bytes of data")));
  EXPECT_NO_THROW(reading(file_of(entry("[0,8]"), 8))());
}

}  // namespace
}  // namespace stint::engine
