// SPDX-License-Identifier: Apache-2.0
// The model goes on while collectives are under way.
#include <gtest/gtest.h>

#include <atomic>

#include "world.h"

namespace stint::engine {
namespace {

using namespace std::chrono_literals;

// The host's, which counts its products.
class CountingDevice final : public model::Device {
 public:
  std::atomic<int> products = 0;

  bool is_host() const override { return true; }
  model::Operand bf16() const override { return host_.bf16(); }
  const model::Kernels& kernels(model::Operand operand) const override { return host_.kernels(operand); }
  void multiply(model::Operand type, const model::Matrix& a, const model::Matrix& b, const model::Matrix& out,
                bool adds) override {
    ++products;
    host_.multiply(type, a, b, out, adds);
  }
  void* allocate(std::size_t bytes) override { return host_.allocate(bytes); }
  void release(void* memory, std::size_t bytes) override { host_.release(memory, bytes); }
  void clear(void* memory, std::size_t bytes) override { host_.clear(memory, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override { host_.copy(to, from, bytes); }
  void put(void* to, const void* from, std::size_t bytes) override { host_.put(to, from, bytes); }
  void get(void* to, const void* from, std::size_t bytes) override { host_.get(to, from, bytes); }
  std::int64_t peak_memory() const override { return host_.peak_memory(); }

 private:
  model::Device& host_ = model::cpu();
};

// Ends a collective on a unit only once the model has gone on from where it asked for it, or will not soon.
class PatientCommunicator final : public comm::Communicator {
 public:
  // How many products had been begun when each collective was asked for; without it, they are asked for when
  // they are done.
  using Requests = std::vector<int>;
  Requests requests;
  int hidden = 0, exposed = 0;  // collectives beside which the model went on, and others
  std::atomic<bool> over = false;

  PatientCommunicator(comm::Communicator& fast, const CountingDevice& device, Requests known)
      : Communicator(comm::whole_view(fast.epoch(), fast.rank(), fast.size()), fast.timeout()),
        fast_(fast),
        device_(device),
        known_(std::move(known)) {}

  comm::Status reduce_scatter(comm::Data data) override { return late(data, fast_.reduce_scatter(data)); }
  comm::Status all_gather(comm::Data data) override { return late(data, fast_.all_gather(data)); }
  comm::Status all_reduce(comm::Data data) override { return late(data, fast_.all_reduce(data)); }
  comm::Status broadcast(std::span<std::byte> data, int root) override { return fast_.broadcast(data, root); }
  comm::Status barrier() override { return fast_.barrier(); }
  comm::Status send(std::span<const std::byte> data, int to) override { return fast_.send(data, to); }
  comm::Status receive(std::span<std::byte> data, int from) override { return fast_.receive(data, from); }
  void revoke() override { fast_.revoke(); }

 private:
  comm::Status late(comm::Data data, comm::Status status) {
    if (data.count() < 1000 || over) return status;  // votes; the last step's parameters
    requests.push_back(device_.products);
    if (known_.empty()) return status;
    const int asked = known_.at(requests.size() - 1);
    const auto end = std::chrono::steady_clock::now() + 500ms;
    while (device_.products <= asked && !over && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(1ms);
    ++(device_.products > asked ? hidden : exposed);
    return status;
  }

  comm::Communicator& fast_;
  const CountingDevice& device_;
  Requests known_;
};

struct Found {
  int hidden = 0, exposed = 0;
  PatientCommunicator::Requests requests;
};

// Of rank 0's first two steps.
Found run(recipes::Recipe recipe, bool overlap, const PatientCommunicator::Requests& known) {
  const TemporaryFolder folder;
  recipe.data.path = write_text(folder.path / "text", sample_text());
  recipe.parallel.overlap = overlap;
  Found found;
  in_world(2, [&](comm::Communicator& fast) {
    CountingDevice device;
    PatientCommunicator patient(fast, device, known);
    Engine engine(recipe, folder.run(), patient, {}, device);
    ASSERT_TRUE(engine.start());
    StepReport report;
    for (int i = 0; i < 2; ++i) ASSERT_TRUE(engine.step(false, report));
    patient.over = true;
    ASSERT_TRUE(engine.barrier());
    if (fast.rank() == 0) found = {patient.hidden, patient.exposed, patient.requests};
  });
  return found;
}

class Overlap : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Kinds, Overlap, testing::Values("none", "zero1", "zero2", "zero3"),
                         [](const auto& info) { return info.param; });

TEST_P(Overlap, TheModelGoesOnBesideMostCollectives) {
  auto recipe = tiny_recipe("");
  recipe.parallel.sharding = GetParam();
  recipe.model.num_hidden_layers = 8;
  recipe.data.global_batch_size = 4;
  const Found on_top = run(recipe, false, {});
  const Found beside = run(recipe, true, on_top.requests);
  // Not so: what is asked for last in a pass, and what the model cannot begin without.
  EXPECT_GE(beside.hidden, 4 * beside.exposed);
  EXPECT_GE(beside.hidden, 16);
}

}  // namespace
}  // namespace stint::engine
