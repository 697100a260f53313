// SPDX-License-Identifier: Apache-2.0
// A rank sleeps only while nothing of its own is done: what ends in a turn that says that it moved nothing,
// as UCX's may, is seen before.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <thread>
#include <tuple>
#include <utility>

#include "tests/unit/comm/reference.h"
#include "trainer/comm/memory.h"
#include "trainer/comm/ring.h"

namespace stint::comm {
namespace {

using namespace std::chrono_literals;

// What ends, ends in progress(), which says that nothing did.
class SilentTransport final : public Transport {
 public:
  explicit SilentTransport(std::unique_ptr<Transport> inner) : inner_(std::move(inner)) {}

  std::function<void()> meanwhile;  // happens before test()

  // Sleeps that began although a request had ended that was last seen pending.
  int oversleeps() const { return oversleeps_; }
  int sleeps() const { return sleeps_; }

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  Request send(int peer, Tag tag, std::span<const std::byte> bytes) override {
    return posted(inner_->send(peer, tag, bytes), {});
  }
  Request receive(int peer, Tag tag, std::span<std::byte> bytes) override {
    return posted(inner_->receive(peer, tag, bytes), Key{peer, tag.operation, tag.slot});
  }
  Outcome test(Request request) override {
    if (meanwhile) meanwhile();
    State& state = states_.at(request);
    const Outcome outcome = state.outcome;
    state.seen_pending = outcome == Outcome::kPending;
    if (outcome == Outcome::kDone) states_.erase(request);
    return outcome;
  }
  bool arrived(int peer, Tag tag) override { return inner_->arrived(peer, tag); }
  bool progress() override {
    std::set<Key> waiting;  // the first receive of a tag takes the first message
    for (auto& [request, state] : states_) {
      if (state.outcome != Outcome::kPending || (state.key && waiting.contains(*state.key))) continue;
      state.outcome = inner_->test(request);
      if (state.key && state.outcome == Outcome::kPending) waiting.insert(*state.key);
    }
    return false;
  }
  void sleep(std::chrono::microseconds limit) override {
    ++sleeps_;
    for (const auto& [request, state] : states_)
      if (state.seen_pending && state.outcome != Outcome::kPending) {
        ++oversleeps_;
        break;
      }
    inner_->sleep(limit);
  }
  void wake() override { inner_->wake(); }
  Status failure() const override { return inner_->failure(); }
  void abort() override { inner_->abort(); }

 private:
  using Key = std::tuple<int, std::uint32_t, std::uint16_t>;  // peer and tag
  struct State {
    std::optional<Key> key;  // of a receive
    Outcome outcome = Outcome::kPending;
    bool seen_pending = false;
  };
  Request posted(Request request, std::optional<Key> key) {
    states_[request].key = key;
    return request;
  }

  std::unique_ptr<Transport> inner_;
  std::map<Request, State> states_;
  int sleeps_ = 0, oversleeps_ = 0;
};

TEST(Sleep, BeginsOnlyWhereNoRequestHasEnded) {
  constexpr int kSize = 4;
  MemoryNetwork network(kSize);
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < kSize; ++rank)
    threads.emplace_back([&, rank] {
      SilentTransport transport(network.transport(rank));
      RingCommunicator communicator(transport, 1, 30s);
      // Longer than it spins.
      std::this_thread::sleep_for(rank * 2ms);
      EXPECT_EQ(exercise(communicator, some_counts()).complaint, "");
      EXPECT_GT(transport.sleeps(), 0);
      EXPECT_EQ(transport.oversleeps(), 0) << "of " << transport.sleeps() << " sleeps, rank " << rank;
    });
}

// Those who hear of it fail too, and may be heard of before one's own word is looked at.
TEST(Revocation, IsWhatARevokedRankSaysWhateverElseHasFailed) {
  MemoryNetwork network(2);
  SilentTransport transport(network.transport(0));
  RingCommunicator communicator(transport, 1, 30s);
  transport.meanwhile = [&] {
    communicator.revoke();
    network.kill(1);
    transport.progress();
  };
  EXPECT_EQ(communicator.barrier().code, Code::kRevoked);
}

}  // namespace
}  // namespace stint::comm
