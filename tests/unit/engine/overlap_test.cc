// SPDX-License-Identifier: Apache-2.0
// Communication takes its time beside the computation, not on top of it.
#include <gtest/gtest.h>

#include "world.h"

namespace stint::engine {
namespace {

// Takes so much longer for each collective, as over a slow wire, and no processor meanwhile.
class SlowCommunicator final : public comm::Communicator {
 public:
  SlowCommunicator(comm::Communicator& fast, std::chrono::milliseconds delay)
      : Communicator(comm::whole_view(fast.epoch(), fast.rank(), fast.size()), fast.timeout()),
        fast_(fast),
        delay_(delay) {}

  comm::Status reduce_scatter(comm::Data data) override { return late(fast_.reduce_scatter(data)); }
  comm::Status all_gather(comm::Data data) override { return late(fast_.all_gather(data)); }
  comm::Status all_reduce(comm::Data data) override { return late(fast_.all_reduce(data)); }
  comm::Status broadcast(std::span<std::byte> data, int root) override { return fast_.broadcast(data, root); }
  comm::Status barrier() override { return fast_.barrier(); }
  comm::Status send(std::span<const std::byte> data, int to) override { return fast_.send(data, to); }
  comm::Status receive(std::span<std::byte> data, int from) override { return fast_.receive(data, from); }
  void revoke() override { fast_.revoke(); }

 private:
  comm::Status late(comm::Status status) const {
    std::this_thread::sleep_for(delay_);
    return status;
  }

  comm::Communicator& fast_;
  std::chrono::milliseconds delay_;
};

// Seconds in which the first of two ranks waited for communication, of some steps.
double seconds_waited(recipes::Recipe recipe, bool overlap) {
  const TemporaryFolder folder;
  recipe.data.path = write_text(folder.path / "text", sample_text());
  recipe.parallel.overlap = overlap;
  double waited = 0;
  in_world(2, [&](comm::Communicator& fast) {
    SlowCommunicator slow(fast, std::chrono::milliseconds(4));
    Engine engine(recipe, folder.run(), slow, {});
    ASSERT_TRUE(engine.start());
    StepReport report;
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(engine.step(false, report));
      if (fast.rank() == 0 && i > 0) waited += report.communicating;
    }
    ASSERT_TRUE(engine.barrier());
  });
  return waited;
}

class Overlap : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Kinds, Overlap, testing::Values("none", "zero1", "zero2", "zero3"),
                         [](const auto& info) { return info.param; });

TEST_P(Overlap, HidesMostOfTheCommunication) {
  auto recipe = tiny_recipe("");
  recipe.parallel.sharding = GetParam();
  recipe.model.hidden_size = 256;
  recipe.model.intermediate_size = 704;
  recipe.model.num_hidden_layers = 8;
  recipe.data.sequence_length = 256;
  recipe.data.global_batch_size = 4;
  recipe.data.micro_batch_size = 2;
  constexpr int kTries = 5;  // a busy machine makes ranks wait for each other
  for (int i = 1; i <= kTries; ++i) {
    const double beside = seconds_waited(recipe, true), on_top = seconds_waited(recipe, false);
    std::printf("waited %.0f ms beside the computation, %.0f ms on top of it\n", 1e3 * beside, 1e3 * on_top);
    if (beside < 0.6 * on_top) return;
  }
  FAIL() << "most of it was not hidden";
}

}  // namespace
}  // namespace stint::engine
