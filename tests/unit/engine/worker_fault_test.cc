// SPDX-License-Identifier: Apache-2.0
// Workers that end before they train, and why.
#include "base/contract.h"
#include "trainer/model/products.h"
#include "worker_fixture.h"

namespace stint::engine {
namespace {

using testing::HasSubstr;

TEST(WorkerProgram, LeavesWithItsAgent) {
  Fixture f;
  f.recipe.run.steps = 100'000;
  f.freeze();
  World world(f.run, 1);
  world[0].expect("step");
  world[0].close_channel();
  EXPECT_EQ(world.finish(), std::vector<int>{1});
}

TEST(WorkerProgram, StopBeforeTheViewIsObeyed) {
  Fixture f;
  f.freeze();
  Worker worker(f.run);
  worker.expect("address");
  worker.send({{"type", "stop"}, {"why", "test"}});
  EXPECT_EQ(worker.finish(), contract::kExitRequeue);
}

TEST(WorkerProgram, WaitsForTheViewNoLongerThanTold) {
  Fixture f;
  f.recipe.resilience.startup_timeout = std::chrono::seconds(1);
  f.freeze();
  Worker worker(f.run);
  EXPECT_EQ(worker.finish(), contract::kExitFailure);
  ASSERT_EQ(worker.seen("error").size(), 1);
  EXPECT_THAT(worker.seen("error")[0].at("what").get<std::string>(), HasSubstr("resilience.startup_timeout"));
}

TEST(WorkerProgram, AGpuThatTorchCannotUseIsOneClearErrorOrTheCpu) {
  Fixture f;
  f.recipe.resources.device = "gpu";
  f.freeze();
  Worker strict(f.run, {}, -1, "--gpu");
  const std::string what = strict.expect("error").at("what");
  if (what.find("gpu: ") == std::string::npos) GTEST_SKIP() << "there is a GPU: " << what;
  EXPECT_THAT(what, testing::AllOf(HasSubstr("resources.device = gpu: "), HasSubstr("torch")));
  EXPECT_NE(strict.finish(), contract::kExitFinished);
  f.recipe.resources.device = "auto";
  f.freeze();
  Worker lenient(f.run, {}, -1, "--gpu");
  const json address = lenient.expect("address").at("address");
  lenient.send({{"type", "view"}, {"epoch", 1}, {"rank", 0}, {"size", 1}, {"addresses", {address}}});
  EXPECT_EQ(lenient.finish(), contract::kExitFinished);
}

struct Fault {
  const char* name;
  const char* message;
  void (*act)(Fixture&);
};

class WorkerFault : public testing::TestWithParam<Fault> {};

INSTANTIATE_TEST_SUITE_P(
    Kinds, WorkerFault,
    testing::Values(Fault{"NoRecipe", "recipe.ini",
                          [](Fixture& f) { std::filesystem::remove(f.run.recipe()); }},
                    Fault{"BinaryRecipe", "recipe.ini",
                          [](Fixture& f) { write_text(f.run.recipe(), std::string(500, '\x01')); }},
                    Fault{"NoData", "book.txt: No such file",
                          [](Fixture& f) {
                            f.recipe.data.path = (f.folder.path / "book.txt").string();
                            f.freeze();
                          }},
                    Fault{"EmptyData", "has 0 bytes", [](Fixture& f) { write_text(f.recipe.data.path, ""); }},
                    Fault{"CheckpointsNotAFolder", "checkpoints",
                          [](Fixture& f) { write_text(f.run.checkpoints(), "a file"); }},
                    Fault{"OnlyDamagedCheckpoints", "no checkpoint of this run can be used",
                          [](Fixture& f) {
                            std::filesystem::create_directories(f.run.checkpoints() / "step-00000004");
                          }}),
    [](const auto& info) { return info.param.name; });

TEST_P(WorkerFault, IsOneClearErrorAndNoRetry) {
  Fixture f;
  f.freeze();
  GetParam().act(f);
  Worker worker(f.run);
  try {
    const json address = worker.expect("address").at("address");
    worker.send({{"type", "view"}, {"epoch", 1}, {"rank", 0}, {"size", 1}, {"addresses", {address}}});
  } catch (const Error&) {
    // a broken recipe ends it earlier
  }
  EXPECT_EQ(worker.finish(), contract::kExitDoNotRequeue);
  ASSERT_EQ(worker.seen("error").size(), 1);
  EXPECT_EQ(worker.seen("error")[0].at("exit"), contract::kExitDoNotRequeue);
  EXPECT_THAT(worker.seen("error")[0].at("what").get<std::string>(), HasSubstr(GetParam().message));
}

TEST(WorkerProgram, RefusesABlasThatIsNotOpenBlas) {
  if (!model::torch_blas().empty()) GTEST_SKIP() << "this torch calls no BLAS but its own";
  Fixture f;
  f.freeze();
  Worker worker(f.run, {"LD_LIBRARY_PATH=" REFERENCE_BLAS});
  EXPECT_EQ(worker.finish(), contract::kExitDoNotRequeue);
  ASSERT_EQ(worker.seen("error").size(), 1);
  EXPECT_THAT(worker.seen("error")[0].at("what").get<std::string>(),
              HasSubstr("install the package libopenblas0-openmp"));
}

}  // namespace
}  // namespace stint::engine
