// SPDX-License-Identifier: Apache-2.0
#include "base/contract.h"

#include <gtest/gtest.h>

namespace stint::contract {
namespace {

TEST(JobTag, ComesBackWithEitherPartMissing) {
  EXPECT_EQ(format_job_tag({"demo", "tiny-llama@1a2b3c4d"}), "stint plan=demo recipe=tiny-llama@1a2b3c4d");
  for (const JobTag& tag : {JobTag{"demo", "x@1"}, JobTag{"demo", ""}, JobTag{"", "x@1"}, JobTag{}}) {
    const JobTag back = parse_job_tag(format_job_tag(tag));
    EXPECT_EQ(back.plan, tag.plan);
    EXPECT_EQ(back.recipe, tag.recipe);
  }
}

TEST(JobTag, ForeignTextIsNoTag) {
  for (const char* text :
       {"", "plan=demo", "mystint plan=demo", "my note: stint plan=demo", "stinted plan=demo"}) {
    EXPECT_EQ(parse_job_tag(text).plan, "") << text;
  }
}

TEST(Reservation, IsThePlanAndTheSegmentsNumber) {
  EXPECT_EQ(reservation_name("demo", 3), "demo.3");
}

}  // namespace
}  // namespace stint::contract
