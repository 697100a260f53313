// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/comm_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace stint::engine {
namespace {

using comm::Code;
using comm::Status;
using std::chrono::milliseconds;

class Queue : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Kinds, Queue, testing::Bool(),
                         [](const auto& info) { return info.param ? "Threaded" : "Inline"; });

TEST_P(Queue, DoesAllInTheOrderOfPosting) {
  std::vector<int> done;
  CommQueue queue(GetParam(), [] {});
  for (int i = 0; i < 1000; ++i) {
    const auto ticket = queue.post([&done, i]() -> Status {
      done.push_back(i);
      return {};
    });
    if (i % 100 != 0) continue;
    EXPECT_TRUE(queue.wait(ticket));
    EXPECT_EQ(done.size(), static_cast<std::size_t>(i) + 1);
  }
  EXPECT_TRUE(queue.wait_all());
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(done[static_cast<std::size_t>(i)], i);
}

TEST_P(Queue, FirstFailureIsTheAnswerToAllThatFollows) {
  CommQueue queue(GetParam(), [] {});
  bool ran = false;
  EXPECT_TRUE(queue.run([] { return Status{}; }));
  queue.post([] { return Status{Code::kPeerFailed, 3, "lost"}; });
  const Status later = queue.run([&] {
    ran = true;
    return Status{Code::kTimeout, 1, "late"};
  });
  EXPECT_EQ(later.code, Code::kPeerFailed);
  EXPECT_EQ(later.peer, 3);
  EXPECT_EQ(queue.wait_all().code, Code::kPeerFailed);
  EXPECT_FALSE(ran);
}

TEST(CommQueue, RunsBesideItsOwner) {
  CommQueue queue(true, [] {});
  std::atomic<bool> open = false;
  const auto ticket = queue.post([&]() -> Status {
    while (!open) std::this_thread::sleep_for(milliseconds(1));
    return {};
  });
  open = true;  // never reached, were it done in post()
  EXPECT_TRUE(queue.wait(ticket));
}

TEST(CommQueue, EndsWhatIsUnderWayWhenItGoes) {
  std::atomic<bool> revoked = false, began = false, ran = false;
  {
    CommQueue queue(true, [&] { revoked = true; });
    queue.post([&]() -> Status {
      began = true;
      while (!revoked) std::this_thread::sleep_for(milliseconds(1));
      return {Code::kRevoked, -1, "revoked"};
    });
    queue.post([&]() -> Status {
      ran = true;
      return {};
    });
    while (!began) std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_TRUE(revoked);
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace stint::engine
