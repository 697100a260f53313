// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/blas.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stint::engine {
namespace {

TEST(Blas, IsOpenBlasWithOpenMpAndNamesItsKernel) {
  const Blas blas = require_openblas(1);
  EXPECT_THAT(blas.file, testing::HasSubstr("openblas"));
  EXPECT_FALSE(blas.kernel.empty());
  EXPECT_THAT(blas.config, testing::HasSubstr("OpenBLAS"));
}

}  // namespace
}  // namespace stint::engine
