// SPDX-License-Identifier: Apache-2.0
#include "reservations/peers.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace stint::reservations {
namespace {

using namespace std::chrono_literals;

// How many connections of one address are within its share.
int share(int threads) {
  PeerQuota quota(threads);
  std::vector<std::unique_ptr<PeerQuota::Place>> places;
  do {
    places.push_back(std::make_unique<PeerQuota::Place>(quota, "10.0.0.1"));
  } while (places.back()->within());
  return static_cast<int>(places.size()) - 1;
}

TEST(PeerQuota, AnAddressHasAQuarterButNeverAll) {
  EXPECT_EQ(share(32), 8);
  EXPECT_EQ(share(4), 2);
  EXPECT_EQ(share(2), 1);
  EXPECT_EQ(share(1), 1);
}

TEST(PeerQuota, OthersHaveTheirOwnAndPlacesAreGivenBack) {
  PeerQuota quota(2);
  {
    const PeerQuota::Place first(quota, "10.0.0.1"), second(quota, "10.0.0.1"), other(quota, "10.0.0.2");
    EXPECT_TRUE(first.within());
    EXPECT_FALSE(second.within());
    EXPECT_TRUE(other.within());
  }
  EXPECT_TRUE(PeerQuota::Place(quota, "10.0.0.1").within());
}

TEST(LogQuota, WritesTheFirstLinesOfAnAddressAndCountsTheRest) {
  LogQuota quota;
  const LogQuota::Clock::time_point begin{1h};
  for (std::size_t i = 1; i <= LogQuota::kLines; ++i) {
    const auto verdict = quota.ask("a", begin);
    EXPECT_TRUE(verdict.write);
    EXPECT_EQ(verdict.last, i == LogQuota::kLines);
  }
  for (int i = 0; i < 500; ++i) EXPECT_FALSE(quota.ask("a", begin + 9s).write);
  EXPECT_TRUE(quota.ask("b", begin + 9s).write);
  const auto next = quota.ask("a", begin + 10s);
  EXPECT_TRUE(next.write);
  EXPECT_EQ(next.counted, 500u);
  EXPECT_EQ(quota.ask("a", begin + 10s).counted, 0u);
}

}  // namespace
}  // namespace stint::reservations
