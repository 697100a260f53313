// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <optional>

#include "base/error.h"
#include "trainer/agent/protocol.h"

namespace stint::agent {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

TEST(Channel, CarriesMessagesInOrder) {
  auto [a, b] = Channel::make_pair();
  EXPECT_TRUE(a.send({{"type", "step"}, {"step", 1}}));
  EXPECT_TRUE(a.send({{"type", "step"}, {"step", 2}}));
  EXPECT_EQ(b.receive(milliseconds(100)).message->at("step"), 1);
  EXPECT_EQ(b.receive(milliseconds(100)).message->at("step"), 2);
}

TEST(Channel, SaysThatNothingCame) {
  auto [a, b] = Channel::make_pair();
  const auto received = b.receive(milliseconds(1));
  EXPECT_FALSE(received.closed);
  EXPECT_FALSE(received.message);
}

TEST(Channel, SeesTheOtherSideGoOnlyAfterItsLastWords) {
  auto [a, b] = Channel::make_pair();
  {
    Channel leaving = std::move(a);
    leaving.send({{"type", "finish"}});
  }
  EXPECT_EQ(b.receive(milliseconds(100)).message->at("type"), "finish");
  EXPECT_TRUE(b.receive(milliseconds(100)).closed);
  EXPECT_FALSE(b.send({{"type", "stop"}}));
}

TEST(Channel, TakesAViewOfThousandsOfRanks) {
  auto [a, b] = Channel::make_pair();
  const nlohmann::json view{{"addresses", std::vector<std::string>(2000, std::string(400, 'f'))}};
  ASSERT_TRUE(a.send(view));
  EXPECT_EQ(*b.receive(milliseconds(100)).message, view);
}

TEST(Channel, RefusesToSendMoreThanAMebibyte) {
  auto [a, b] = Channel::make_pair();
  try {
    a.send({{"what", std::string(1 << 20, 'x')}});
    FAIL() << "sent";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("bytes"));
  }
  EXPECT_FALSE(b.receive(milliseconds(1)).message);
}

TEST(Channel, RefusesWhatIsNoJsonObject) {
  for (const std::string text : {"[1]", "{\"type\":", "\xff\xfe", "null"}) {
    auto [a, b] = Channel::make_pair();
    ASSERT_GT(::send(a.descriptor(), text.data(), text.size(), 0), 0);
    EXPECT_THROW(b.receive(milliseconds(100)), Error) << text;
  }
}

}  // namespace
}  // namespace stint::agent
