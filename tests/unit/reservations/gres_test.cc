// SPDX-License-Identifier: Apache-2.0
#include "reservations/gres.h"

#include <gtest/gtest.h>

namespace stint::reservations {
namespace {

TEST(Gres, GpusOfAllTypesAreCounted) {
  EXPECT_EQ(count_gpus("gpu:8"), 8);
  EXPECT_EQ(count_gpus("gpu:a100:4(S:0-1),gpu:2,nic:1"), 6);
  EXPECT_EQ(count_gpus("gpu:h100:2(S:0,2),gpu:h100:2(S:1,3)"), 4);
  EXPECT_EQ(count_gpus("gpu"), 1);
  EXPECT_EQ(count_gpus("gpu:gh200"), 1);
}

TEST(Gres, OtherResourcesAreNone) {
  for (const char* gres : {"", "(null)", "nic:4", "gpumem:80", "gpu:0", "shard:gpu:3"})
    EXPECT_EQ(count_gpus(gres), 0) << gres;
}

}  // namespace
}  // namespace stint::reservations
