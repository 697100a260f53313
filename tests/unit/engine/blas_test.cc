// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/blas.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trainer/model/products.h"

namespace stint::engine {
namespace {

TEST(Blas, IsTorchsOwnOrOpenBlasWithOpenMpAndNamesItsKernel) {
  const Blas blas = require_blas(1);
  if (const auto own = model::torch_blas(); !own.empty()) {
    EXPECT_EQ(blas.kernel, "MKL");
    EXPECT_EQ(blas.config, own);
    return;
  }
  EXPECT_THAT(blas.file, testing::HasSubstr("openblas"));
  EXPECT_FALSE(blas.kernel.empty());
  EXPECT_THAT(blas.config, testing::HasSubstr("OpenBLAS"));
}

}  // namespace
}  // namespace stint::engine
