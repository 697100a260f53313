// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "base/error.h"
#include "tiny.h"

namespace stint::engine {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(ByteText, SequenceIsAFunctionOfSeedStepAndSlot) {
  const TemporaryFolder folder;
  const std::string text = sample_text(), path = write_text(folder.path / "text", text);
  const ByteText data(path, 16, 256, 5), again(path, 16, 256, 5), other(path, 16, 256, 6);
  std::vector<std::int64_t> a(17), b(17);
  for (std::int64_t step = 0; step < 20; ++step)
    for (std::int64_t slot = 0; slot < 8; ++slot) {
      data.read(step, slot, a);
      again.read(step, slot, b);
      ASSERT_EQ(a, b);
      const auto offset = data.offset_of(step, slot);
      for (std::size_t i = 0; i < a.size(); ++i)
        ASSERT_EQ(a[i], static_cast<unsigned char>(text[offset + i]));
    }
  EXPECT_NE(data.offset_of(0, 0), other.offset_of(0, 0));
  EXPECT_NE(data.offset_of(0, 0), data.offset_of(0, 1));
  EXPECT_NE(data.offset_of(0, 1), data.offset_of(1, 0));
}

TEST(ByteText, ReachesFirstAndLastByteAndNotBeyond) {
  const TemporaryFolder folder;
  const ByteText data(write_text(folder.path / "text", "0123456789"), 7, 256, 1);
  std::set<std::uint64_t> offsets;
  for (std::int64_t step = 0; step < 200; ++step) offsets.insert(data.offset_of(step, 0));
  EXPECT_EQ(offsets, (std::set<std::uint64_t>{0, 1, 2}));
}

TEST(ByteText, BytesAbove127AreTokensToo) {
  const TemporaryFolder folder;
  const ByteText data(write_text(folder.path / "text", std::string("\xff\x00\x80", 3)), 2, 256, 1);
  std::vector<std::int64_t> tokens(3);
  data.read(0, 0, tokens);
  EXPECT_EQ(tokens, (std::vector<std::int64_t>{255, 0, 128}));
}

TEST(ByteText, RefusesWhatIsNoTextByName) {
  const TemporaryFolder folder;
  const auto opening = [](std::string path, std::int64_t vocabulary = 256) {
    return [=] { ByteText(path, 16, vocabulary, 1); };
  };
  EXPECT_THAT(opening("/nowhere/book.txt"),
              ThrowsMessage<Error>(HasSubstr("/nowhere/book.txt: No such file")));
  EXPECT_THAT(opening(folder.path.string()), ThrowsMessage<Error>(HasSubstr("is a folder")));
  EXPECT_THAT(opening("/dev/zero"), ThrowsMessage<Error>(HasSubstr("no regular file")));
  EXPECT_THAT(opening(write_text(folder.path / "empty", "")), ThrowsMessage<Error>(HasSubstr("has 0 bytes")));
  EXPECT_THAT(opening(write_text(folder.path / "short", std::string(16, 'x'))),
              ThrowsMessage<Error>(HasSubstr("needs at least 17")));
  EXPECT_NO_THROW(opening(write_text(folder.path / "enough", std::string(17, 'x')))());
  EXPECT_THAT(opening(write_text(folder.path / "enough", std::string(17, 'x')), 255),
              ThrowsMessage<Error>(HasSubstr("model.vocab_size = 255")));
}

TEST(ByteText, FileThatShrinksUnderTheRunIsAnErrorWithItsName) {
  const TemporaryFolder folder;
  const auto path = write_text(folder.path / "text", sample_text());
  const ByteText data(path, 16, 256, 1);
  std::filesystem::resize_file(path, 8);
  std::vector<std::int64_t> tokens(17);
  EXPECT_THAT([&] { data.read(0, 0, tokens); }, ThrowsMessage<Error>(HasSubstr(path + " became shorter")));
}

}  // namespace
}  // namespace stint::engine
