// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/final_error.h"

namespace stint::engine {
namespace {

using model::Operand;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Operands, OfRanksThatWouldSendEachOtherDifferentSizesAreRefusedWithTheRemedy) {
  for (const Operand operand : {Operand::kFloat, Operand::kRounded, Operand::kBf16, Operand::kHalf})
    EXPECT_NO_THROW(require_equal_operands({operand, operand, operand}));
  EXPECT_THAT(
      [] {
        require_equal_operands({Operand::kBf16, Operand::kRounded, Operand::kBf16, Operand::kRounded});
      },
      ThrowsMessage<FinalError>(AllOf(HasSubstr("the processors of ranks 1, 3 have no AVX-512"),
                                      HasSubstr("--constraint=FEATURE"), HasSubstr("precision = fp32"))));
  EXPECT_THAT(
      [] {
        require_equal_operands({Operand::kRounded, Operand::kBf16});
      },
      ThrowsMessage<FinalError>(HasSubstr("of rank 0 have no AVX-512")));
}

}  // namespace
}  // namespace stint::engine
