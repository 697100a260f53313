// SPDX-License-Identifier: Apache-2.0
// Not beside the stand-in for CUDA, which torch would take for a real one.
#include <gmock/gmock.h>

#include "base/final_error.h"
#include "trainer/engine/gpu.h"
#include "trainer/model/aten.h"

namespace stint::engine {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(ChosenDevice, IsTheCpuUnlessThereIsAGpuForIt) {
  EXPECT_EQ(&choose_device("cpu", true).get(), &model::cpu());
  EXPECT_EQ(&choose_device("auto", false).get(), &model::cpu());
  EXPECT_EQ(choose_device("auto", false).note, "");
  EXPECT_THAT(
      [] { (void)choose_device("gpu", false); },
      testing::ThrowsMessage<FinalError>(HasSubstr("was given no GPU; ask for them with resources.gres")));
}

TEST(ChosenDevice, SaysWhyAGpuThatIsThereIsNotUsed) {
  try {
    model::aten::make_device(true);
    GTEST_SKIP() << "there is a GPU";
  } catch (const model::DeviceFailure&) {
  }
  const auto chosen = choose_device("auto", true);
  EXPECT_EQ(&chosen.get(), &model::cpu());
  EXPECT_THAT(chosen.note, AllOf(HasSubstr("the CPU is computed on, not the GPU"), HasSubstr("torch")));
  EXPECT_THAT([] { (void)choose_device("gpu", true); },
              testing::ThrowsMessage<Error>(AllOf(HasSubstr("resources.device = gpu"), HasSubstr("torch"))));
}

TEST(ChosenDevice, IsOfOneKindOnAllRanks) {
  require_equal_devices({true, true});
  require_equal_devices({false, false, false});
  EXPECT_THAT(
      [] {
        require_equal_devices({true, false, true, false});
      },
      testing::ThrowsMessage<Error>(HasSubstr("ranks 1, 3 found no GPU to use, the others did")));
}

}  // namespace
}  // namespace stint::engine
