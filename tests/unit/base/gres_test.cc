// SPDX-License-Identifier: Apache-2.0
#include "base/gres.h"

#include <gtest/gtest.h>

namespace stint {
namespace {

TEST(Gres, GpusOfAllTypesAreCounted) {
  EXPECT_EQ(count_gpus("gpu:8"), 8);
  EXPECT_EQ(count_gpus("gpu:a100:4(S:0-1),gpu:2,nic:1"), 6);
  EXPECT_EQ(count_gpus("gpu:h100:2(S:0,2),gpu:h100:2(S:1,3)"), 4);
  EXPECT_EQ(count_gpus("gpu"), 1);
  EXPECT_EQ(count_gpus("gpu:gh200"), 1);
}

TEST(Gres, GpusOfAJobAreCountedInSlurmsForm) {
  EXPECT_EQ(count_gpus("gres:gpu:8,gres:nic:1"), 8);
  EXPECT_EQ(count_gpus("gres/gpu:h100:4,gres/gpu:2"), 6);
}

TEST(Gres, SenselessCountsStayLargeNumbers) {
  EXPECT_EQ(count_gpus("gpu:99999999999999999999"), 1'000'000);
  EXPECT_EQ(count_gpus("gpu:a:2000000000,gpu:b:2000000000,gpu:c:2000000000"), 1'000'000);
}

TEST(Gres, OtherResourcesAreNone) {
  for (const char* gres : {"", "(null)", "nic:4", "gpumem:80", "gpu:0", "shard:gpu:3"})
    EXPECT_EQ(count_gpus(gres), 0) << gres;
}

}  // namespace
}  // namespace stint
