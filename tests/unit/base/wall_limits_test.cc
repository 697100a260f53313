// SPDX-License-Identifier: Apache-2.0
#include "base/wall_limits.h"

#include <gtest/gtest.h>

namespace stint {
namespace {

using std::chrono::minutes;

constexpr std::uint32_t kAlice = 1000, kBob = 1001;

// alice: physics (default, 2 h, QOS normal) and chem (QOS short), in night physics for 8 h; bob: nothing.
WallLimits limits() {
  WallLimits all;
  all.qos = {{"short", minutes{30}, false, false},
             {"big", minutes{600}, false, false},
             {"top", minutes{700}, true, false},
             {"free", {}, false, true}};
  all.associations = {{kAlice, "physics", "", true, "normal", minutes{120}},
                      {kAlice, "physics", "night", true, "normal", minutes{480}},
                      {kAlice, "chem", "", false, "short", minutes{240}}};
  return all;
}

std::string bound(const WallLimits::Job& job, const WallLimits::Partition& partition) {
  const auto found = limits().bound(job, partition);
  return found.most ? found.by + " " + std::to_string(found.most->count()) : "none";
}

TEST(WallLimits, WithoutAnyAJobHasNoBound) {
  EXPECT_EQ(WallLimits().bound({kAlice, "physics", "short"}, {"main", {}, {}}).most, std::nullopt);
  EXPECT_EQ(bound({kBob, "", ""}, {"main", {}, {}}), "none");
}

TEST(WallLimits, AJobThatNamesNothingHasItsDefaultAccountAndTheQosOfThat) {
  EXPECT_EQ(bound({kAlice, "", ""}, {"main", {}, {}}), "account physics 120");
  EXPECT_EQ(bound({kAlice, "chem", ""}, {"main", {}, {}}), "QOS short 30");
}

TEST(WallLimits, TheQosThatAJobNamesStandsInForItsAccountsLimit) {
  EXPECT_EQ(bound({kAlice, "physics", "big"}, {"main", {}, {}}), "QOS big 600");
  EXPECT_EQ(bound({kAlice, "chem", "normal"}, {"main", {}, {}}), "account chem 240");
}

TEST(WallLimits, AnAssociationForThePartitionStandsInForTheOneForAll) {
  EXPECT_EQ(bound({kAlice, "physics", ""}, {"night", {}, {}}), "account physics 480");
}

TEST(WallLimits, ThePartitionsQosComesFirstUnlessTheJobsOneIsAboveIt) {
  EXPECT_EQ(bound({kAlice, "", "short"}, {"main", {}, "big"}), "QOS big 600");
  EXPECT_EQ(bound({kAlice, "", "top"}, {"main", {}, "big"}), "QOS top 700");
  EXPECT_EQ(bound({kAlice, "", "short"}, {"main", {}, "free"}), "QOS short 30");
}

TEST(WallLimits, ThePartitionsMaxTimeHoldsBesideThem) {
  EXPECT_EQ(bound({kAlice, "", ""}, {"main", minutes{60}, {}}), "partition main 60");
  EXPECT_EQ(bound({kAlice, "", ""}, {"main", minutes{180}, {}}), "account physics 120");
  EXPECT_EQ(bound({kBob, "", ""}, {"main", minutes{60}, {}}), "partition main 60");
}

TEST(WallLimits, AQosWithPartitionTimeLimitLiftsThePartitionsMaxTime) {
  EXPECT_EQ(bound({kBob, "", "free"}, {"main", minutes{60}, {}}), "none");
}

TEST(WallLimits, NamesAreComparedAsSlurmDoes) {
  EXPECT_EQ(bound({kAlice, "Chem", "SHORT"}, {"main", {}, {}}), "QOS short 30");
}

}  // namespace
}  // namespace stint
