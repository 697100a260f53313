// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include "trainer/agent/peers.h"

namespace stint::agent {
namespace {

using namespace std::chrono_literals;

TEST(Beat, SurvivesItsDatagram) {
  const Beat beat{0x0123456789abcdefULL, 7, 3, 4, 1ULL << 40, BeatState::kLeaving, 93};
  const auto read = decode(encode(beat));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->nonce, beat.nonce);
  EXPECT_EQ(read->epoch, 7U);
  EXPECT_EQ(read->from, 3U);
  EXPECT_EQ(read->to, 4U);
  EXPECT_EQ(read->sequence, 1ULL << 40);
  EXPECT_EQ(read->state, BeatState::kLeaving);
  EXPECT_EQ(read->exit_code, 93);
}

TEST(Beat, ForeignDatagramsAreNone) {
  auto datagram = encode(Beat{});
  EXPECT_FALSE(decode({}));
  EXPECT_FALSE(decode(std::span(datagram).first(kBeatBytes - 1)));
  auto magic = datagram;
  magic[0] = std::byte{0};
  EXPECT_FALSE(decode(magic));
  auto state = datagram;
  state[kBeatBytes - 2] = std::byte{9};
  EXPECT_FALSE(decode(state));
}

// Two agents on one host, and one that belongs to nobody.
class PeersTest : public testing::Test {
 protected:
  static Identity identity(const std::string& node, const BeatSocket& socket, std::uint64_t nonce) {
    return {node, "host", "", "", {}, socket.port(), nonce};
  }
  static void wait(const BeatSocket& socket) {
    pollfd entry{socket.descriptor(), POLLIN, 0};
    ASSERT_EQ(poll(&entry, 1, 5000), 1);
  }
  static sockaddr_in address_of(const BeatSocket& socket) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(socket.port());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

  BeatSocket socket_a_, socket_b_, stranger_;
  std::vector<Identity> all_{identity("a", socket_a_, 11), identity("b", socket_b_, 22)};
  HeartbeatTimes times_{100ms, 1s, 10s};
  Peers::Clock::time_point now_{};
  Peers a_{socket_a_, all_, 0, 1, times_, now_};
  Peers b_{socket_b_, all_, 1, 1, times_, now_};
};

TEST_F(PeersTest, LastWordsArriveOnce) {
  a_.leave(75);
  wait(socket_b_);
  const auto news = b_.read(now_);
  ASSERT_EQ(news.left.size(), 1U);
  EXPECT_EQ(news.left[0].node, 0U);
  EXPECT_EQ(news.left[0].exit_code, 75);
}

TEST_F(PeersTest, ARequestToStopTravels) {
  a_.turn(BeatState::kStopping, now_);
  wait(socket_b_);
  EXPECT_TRUE(b_.read(now_).stop_asked);
}

TEST_F(PeersTest, DatagramsOfOthersAreDropped) {
  const Beat good{.nonce = 11, .epoch = 1, .from = 0, .to = 1, .sequence = 9, .state = BeatState::kLeaving};
  for (int field = 0; field < 5; ++field) {
    Beat beat = good;
    if (field == 0) beat.nonce = 12;
    if (field == 1) beat.epoch = 2;
    if (field == 2) beat.from = 1;
    if (field == 3) beat.to = 0;
    if (field == 4) beat.from = 77;
    stranger_.send(beat, address_of(socket_b_));
    wait(socket_b_);
    EXPECT_TRUE(b_.read(now_).left.empty()) << field;
  }
  stranger_.send(good, address_of(socket_b_));
  wait(socket_b_);
  EXPECT_EQ(b_.read(now_).left.size(), 1U);
}

TEST_F(PeersTest, ARepeatedDatagramKeepsNobodyAlive) {
  const Beat beat{.nonce = 11, .epoch = 1, .from = 0, .to = 1, .sequence = 9};
  stranger_.send(beat, address_of(socket_b_));
  wait(socket_b_);
  b_.read(now_);
  for (int i = 0; i < 12; ++i) {
    now_ += 100ms;
    stranger_.send(beat, address_of(socket_b_));
    wait(socket_b_);
    b_.read(now_);
    if (i < 11) b_.turn(BeatState::kAlive, now_);
  }
  EXPECT_EQ(b_.turn(BeatState::kAlive, now_), std::vector<std::size_t>{0});
}

}  // namespace
}  // namespace stint::agent
