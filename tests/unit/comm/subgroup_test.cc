// SPDX-License-Identifier: Apache-2.0
// Some ranks of a communicator do all that a communicator of their own would do, beside each other.
#include "trainer/comm/subgroup.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "tests/unit/comm/reference.h"
#include "trainer/comm/memory.h"
#include "trainer/comm/ring.h"

namespace stint::comm {
namespace {

constexpr std::chrono::seconds kNever{30};
constexpr std::array<std::size_t, 7> kCounts{0, 1, 2, 3, 7, 1000, 300'000};

void on_all_ranks(int size, const std::function<void(Communicator&)>& body) {
  MemoryNetwork network(size);
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      RingCommunicator communicator(network.transport(rank), 1, kNever);
      body(communicator);
    });
}

// Neighbours, and those that stand `stride` apart: of 6 ranks, groups of 1 to 6.
TEST(Subgroup, EqualsACommunicatorOfItsOwnBitForBit) {
  for (const int members : {1, 2, 3, 6})
    for (const bool neighbours : {true, false}) {
      const std::string expected = hash_in_memory(members, kCounts);
      on_all_ranks(6, [&](Communicator& whole) {
        std::vector<int> ranks;
        const int groups = 6 / members;
        for (int i = 0; i < members; ++i)
          ranks.push_back(neighbours ? whole.rank() / members * members + i
                                     : whole.rank() % groups + i * groups);
        Subgroup group(whole, ranks);
        EXPECT_EQ(group.size(), members);
        const Exercise result = exercise(group, kCounts);
        EXPECT_EQ(result.complaint, "") << members;
        EXPECT_EQ(fmt::format("{:016x}", result.hash), expected) << members;
      });
    }
}

TEST(Subgroup, LostMemberIsNamedByItsRankInTheView) {
  MemoryNetwork network(4);
  std::vector<std::jthread> threads;
  for (const int rank : {1, 3})
    threads.emplace_back([&, rank] {
      RingCommunicator whole(network.transport(rank), 1, kNever);
      Subgroup group(whole, {1, 3});
      if (rank == 3) return network.kill(3);
      const Status status = group.barrier();
      EXPECT_EQ(status.code, Code::kPeerFailed);
      EXPECT_EQ(status.peer, 3);
    });
}

}  // namespace
}  // namespace stint::comm
