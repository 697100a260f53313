// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "trainer/agent/liveness.h"

namespace stint::agent {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

class LivenessTest : public testing::Test {
 protected:
  // Lets time pass as a healthy loop sees it: a turn each 100 ms.
  void pass(std::chrono::milliseconds duration, const std::vector<std::size_t>& heard = {}) {
    for (auto end = now_ + duration; now_ < end;) {
      now_ += 100ms;
      liveness_.tick(now_);
      for (const std::size_t peer : heard) liveness_.note(peer, now_);
    }
  }
  Liveness::Time now_{};
  Liveness liveness_{3, 1s, 10s, now_};
};

TEST_F(LivenessTest, SilentPeerIsLostAfterTheTimeout) {
  pass(500ms, {0, 1, 2});
  pass(900ms, {0, 2});
  EXPECT_THAT(liveness_.lost(now_), IsEmpty());
  pass(200ms, {0, 2});
  EXPECT_THAT(liveness_.lost(now_), ElementsAre(1));
}

TEST_F(LivenessTest, PeerThatWasNeverHeardHasTheFirstTimeout) {
  pass(9900ms, {0, 2});
  EXPECT_THAT(liveness_.lost(now_), IsEmpty());
  pass(300ms, {0, 2});
  EXPECT_THAT(liveness_.lost(now_), ElementsAre(1));
}

TEST_F(LivenessTest, DepartedPeerIsNotLost) {
  pass(500ms, {0, 1, 2});
  liveness_.depart(1);
  pass(5s, {0, 2});
  EXPECT_THAT(liveness_.lost(now_), IsEmpty());
}

TEST_F(LivenessTest, OwnPauseAccusesNobody) {
  pass(500ms, {0, 1, 2});
  now_ += 30s;  // the process was stopped
  liveness_.tick(now_);
  EXPECT_THAT(liveness_.lost(now_), IsEmpty());
  pass(900ms, {0, 2});
  EXPECT_THAT(liveness_.lost(now_), IsEmpty());
  pass(200ms, {0, 2});
  EXPECT_THAT(liveness_.lost(now_), ElementsAre(1)) << "but a silence that lasts is seen";
}

// Against the rule said outright: lost = not heard for the time-out, in a stretch without an own pause.
TEST(Liveness, AgreesWithASlowModel) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    Liveness::Time now{};
    Liveness liveness(2, 1s, 1s, now);
    std::map<std::size_t, Liveness::Time> heard{{0, now}, {1, now}};
    Liveness::Time listening = now;
    for (int turn = 0; turn < 100; ++turn) {
      const auto step = random() % 20 == 0 ? 700ms : 100ms;
      now += step;
      if (step > 500ms) listening = now;
      liveness.tick(now);
      for (std::size_t peer = 0; peer < 2; ++peer) {
        if (random() % 8 == 0) {
          liveness.note(peer, now);
          heard[peer] = now;
        }
      }
      std::vector<std::size_t> expected;
      for (const auto& [peer, time] : heard) {
        if (now - time > 1s && now - listening > 1s) expected.push_back(peer);
      }
      ASSERT_EQ(liveness.lost(now), expected);
    }
  }
}

}  // namespace
}  // namespace stint::agent
