// SPDX-License-Identifier: Apache-2.0
// The collectives with ranks as threads over the network in memory, and its faults.
#include "trainer/comm/memory.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <thread>

#include "tests/unit/comm/reference.h"
#include "trainer/comm/ring.h"
#include "trainer/comm/tree_sum.h"

namespace stint::comm {
namespace {

using namespace std::chrono_literals;
using testing::AnyOf;
using testing::Each;
using testing::HasSubstr;

constexpr auto kNever = 30s;

// Runs the body once a rank, each in a thread of its own, over the network.
template <typename Body>
void on_all_ranks(
    MemoryNetwork& network, int size, std::chrono::milliseconds timeout, Body body,
    std::function<std::uint32_t(int)> epoch = [](int) { return 1U; }) {
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      RingCommunicator communicator(network.transport(rank), epoch(rank), timeout);
      body(communicator);
    });
}

std::vector<Status> all_reduce_until_failure(MemoryNetwork& network, int size, std::size_t count,
                                             std::chrono::milliseconds timeout) {
  std::vector<Status> ends(static_cast<std::size_t>(size));
  on_all_ranks(network, size, timeout, [&](RingCommunicator& communicator) {
    Status status;
    while (status) {
      std::vector<float> data(count, 1);
      status = communicator.all_reduce(data);
    }
    ends[static_cast<std::size_t>(communicator.rank())] = status;
  });
  return ends;
}

TEST(Chunk, CoversTheCountOnceInOrderAndDiffersByAtMostOne) {
  for (const int size : {1, 2, 3, 5, 8})
    for (std::size_t count = 0; count < 40; ++count) {
      std::size_t next = 0;
      for (int rank = 0; rank < size; ++rank) {
        const Range range = chunk_of(count, size, rank);
        ASSERT_EQ(range.begin, next);
        next = range.end;
        const std::size_t share = count / static_cast<std::size_t>(size);
        ASSERT_TRUE(range.end - range.begin == share || range.end - range.begin == share + 1);
        const Range first = chunk_of(count, size, 0);
        ASSERT_LE(range.end - range.begin, first.end - first.begin);
      }
      ASSERT_EQ(next, count);
    }
}

TEST(Bf16, RoundsToTheNearestTiesToEvenAndKeepsWhatIsNotANumber) {
  EXPECT_EQ(to_bf16(1.0F).bits, 0x3f80);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f807fffU)).bits, 0x3f80);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f808000U)).bits, 0x3f80) << "a tie goes to the even one";
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f818000U)).bits, 0x3f82) << "a tie goes to the even one";
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f808001U)).bits, 0x3f81);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::max()).bits, 0x7f80) << "beyond the largest is infinity";
  EXPECT_EQ(to_bf16(-0.0F).bits, 0x8000);
  EXPECT_TRUE(std::isnan(to_float(to_bf16(std::bit_cast<float>(0x7f800001U)))));
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Bf16 value{static_cast<std::uint16_t>(bits)};
    ASSERT_TRUE(std::isnan(to_float(value)) || to_bf16(to_float(value)).bits == bits) << bits;
  }
}

TEST(TreeSum, AddsPairsFirstAndRoundsBf16Once) {
  // 1 + 2^-8 lies half-way between two bf16 numbers: rounded before the last addition it would get lost.
  const std::vector<float> values{1, 0x1p-8F, 0x1p-8F, 0};
  std::vector<Bf16> terms;
  for (const float value : values) terms.push_back(to_bf16(value));
  const std::vector<const Bf16*> pointers{&terms[0], &terms[1], &terms[2], &terms[3]};
  Bf16 sum, twin;
  const std::array<Bf16*, 2> sums{&sum, &twin};
  tree_sum(pointers, sums, 1);
  EXPECT_EQ(to_float(sum), 1 + 0x1p-7F);
  EXPECT_EQ(twin.bits, sum.bits);
}

TEST(TreeSum, RoundsEveryKindOfBf16AsTheScalarCodeDoes) {
  std::mt19937 random(3);
  constexpr std::size_t kCount = 20'000;  // of which many are subnormal, infinite or not a number
  std::array<std::vector<Bf16>, 4> inputs;
  for (auto& input : inputs)
    for (std::size_t i = 0; i < kCount; ++i) {
      const auto bits = static_cast<std::uint16_t>(random());
      input.push_back({static_cast<std::uint16_t>(i % 3 == 0 ? bits & 0x80ff : bits)});
    }
  for (const std::size_t size : {2U, 3U, 4U}) {
    std::vector<const Bf16*> terms;
    for (std::size_t rank = 0; rank < size; ++rank) terms.push_back(inputs[rank].data());
    std::vector<Bf16> sums(kCount);
    Bf16* to = sums.data();
    tree_sum(terms, std::span<Bf16* const>(&to, 1), kCount);
    for (std::size_t i = 0; i < kCount; ++i) {
      const auto term = [&](std::size_t rank) { return to_float(inputs[rank][i]); };
      const float left = term(0) + term(1);
      const float sum = size == 2 ? left : left + (size == 3 ? term(2) : term(2) + term(3));
      if (std::isnan(sum))
        ASSERT_TRUE(std::isnan(to_float(sums[i])));
      else
        ASSERT_EQ(sums[i].bits, to_bf16(sum).bits) << sum;
    }
  }
}

TEST(TreeSum, EqualsTheReferenceForEveryWorldSizeAndWhereverABufferIsCut) {
  for (int size = 1; size <= 17; ++size) {
    constexpr std::size_t kCount = 1300;
    std::vector<std::vector<float>> inputs;
    for (int rank = 0; rank < size; ++rank) inputs.push_back(input_of<float>(rank, kCount));
    std::vector<float> sums(kCount);
    for (const Range range : {Range{0, 1}, Range{1, 700}, Range{700, kCount}}) {
      std::vector<const float*> terms;
      for (const auto& input : inputs) terms.push_back(input.data() + range.begin);
      float* sum = sums.data() + range.begin;
      tree_sum(terms, std::span<float* const>(&sum, 1), range.size());
    }
    EXPECT_EQ(sums, reference_sum<float>(size, kCount)) << size << " ranks";
  }
}

TEST(TreeSum, HalfTheRanksWithPairsOfTermsEachGiveTheSameBits) {
  const auto pair_of = [](int first) {
    auto sum = input_of<float>(first, 100);
    const auto other = input_of<float>(first + 1, 100);
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += other[i];
    return sum;
  };
  const auto left = pair_of(0), right = pair_of(2);
  const std::array terms{left.data(), right.data()};
  std::vector<float> sum(100);
  float* to = sum.data();
  tree_sum(terms, std::span<float* const>(&to, 1), sum.size());
  EXPECT_EQ(sum, reference_sum<float>(4, 100));
}

TEST(MemoryRing, EqualsTheReferenceBitForBitOnEveryRankForAllSizesAndCounts) {
  for (int size = 1; size <= 6; ++size) {
    std::vector<Exercise> results(static_cast<std::size_t>(size));
    MemoryNetwork network(size);
    on_all_ranks(network, size, kNever, [&](RingCommunicator& communicator) {
      results[static_cast<std::size_t>(communicator.rank())] = exercise(communicator, all_counts());
    });
    for (const Exercise& result : results) {
      EXPECT_EQ(result.complaint, "") << size << " ranks";
      EXPECT_EQ(result.hash, results[0].hash) << size << " ranks";
    }
  }
}

TEST(MemoryRing, EqualsTheReferenceForRandomSizesAndCounts) {
  std::mt19937 random(20240229);
  for (int round = 0; round < 20; ++round) {
    const int size = std::uniform_int_distribution(1, 9)(random);
    const std::vector<std::size_t> counts{std::uniform_int_distribution<std::size_t>(0, 100'000)(random)};
    MemoryNetwork network(size);
    on_all_ranks(network, size, kNever, [&](RingCommunicator& communicator) {
      EXPECT_EQ(exercise(communicator, counts).complaint, "") << size << " ranks, " << counts[0];
    });
  }
}

TEST(MemoryRing, DeathOfAPeerAtAnyMomentEndsEveryRankWithPeerFailed) {
  constexpr int kSize = 4;
  for (int sends = 0; sends < 13; ++sends) {
    MemoryNetwork network(kSize);
    network.kill_after(sends % kSize, sends);
    const auto ends = all_reduce_until_failure(network, kSize, 300'000, kNever);
    for (const Status& end : ends) EXPECT_EQ(end.code, Code::kPeerFailed) << end.detail;
  }
}

TEST(MemoryRing, SilenceOfAPeerIsATimeout) {
  MemoryNetwork network(3);
  network.stall(1);
  const auto begin = std::chrono::steady_clock::now();
  const auto ends = all_reduce_until_failure(network, 3, 1000, 300ms);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 300ms);
  for (const Status& end : ends) EXPECT_THAT(end.code, AnyOf(Code::kTimeout, Code::kPeerFailed));
}

TEST(MemoryRing, RevokeFromAnotherThreadEndsTheOperationUnderWayAndAllLaterOnes) {
  MemoryNetwork network(2);
  RingCommunicator communicator(network.transport(0), 1, kNever);
  std::jthread revoker([&] {
    std::this_thread::sleep_for(50ms);
    communicator.revoke();
    communicator.revoke();
  });
  EXPECT_EQ(communicator.barrier().code, Code::kRevoked);
  std::vector<float> data(10);
  EXPECT_EQ(communicator.all_reduce(data).code, Code::kRevoked);
  EXPECT_EQ(communicator.reduce_scatter(data).code, Code::kRevoked);
  EXPECT_EQ(communicator.all_gather(data).code, Code::kRevoked);
  const auto bytes = std::as_writable_bytes(std::span(data));
  EXPECT_EQ(communicator.broadcast(bytes, 0).code, Code::kRevoked);
  EXPECT_EQ(communicator.send(bytes, 1).code, Code::kRevoked);
  EXPECT_EQ(communicator.receive(bytes, 1).code, Code::kRevoked);
}

TEST(MemoryRing, AFailedCommunicatorKeepsItsFirstFailure) {
  MemoryNetwork network(2);
  RingCommunicator communicator(network.transport(0), 1, 20ms);
  const Status first = communicator.barrier();
  EXPECT_EQ(first.code, Code::kTimeout);
  EXPECT_EQ(first.peer, 1);
  EXPECT_EQ(first.detail, "barrier 0 in view 1: still waiting for rank 1 after 20 ms");
  communicator.revoke();
  const Status second = communicator.barrier();
  EXPECT_EQ(second.code, Code::kTimeout);
  EXPECT_EQ(second.detail, first.detail);
}

TEST(MemoryRing, ANewTimeoutHoldsForTheOperationsThatFollow) {
  MemoryNetwork network(2);
  RingCommunicator communicator(network.transport(0), 1, kNever);
  communicator.set_timeout(20ms);
  EXPECT_EQ(communicator.barrier().detail, "barrier 0 in view 1: still waiting for rank 1 after 20 ms");
}

TEST(MemoryRing, AMessageOfAnotherLengthThanAwaitedFailsItsReceiver) {
  MemoryNetwork network(2);
  std::vector<Status> ends(2);
  on_all_ranks(network, 2, kNever, [&](RingCommunicator& communicator) {
    std::vector<std::byte> bytes(communicator.rank() == 0 ? 10 : 12);
    ends[static_cast<std::size_t>(communicator.rank())] =
        communicator.rank() == 0 ? communicator.send(bytes, 1) : communicator.receive(bytes, 0);
  });
  EXPECT_EQ(ends[1].code, Code::kPeerFailed);
  EXPECT_EQ(ends[1].detail, "receive 0 in view 1: rank 0 sent 10 bytes where 12 were awaited");
}

TEST(MemoryRing, RanksThatDisagreeOnTheCountAreToldAndDoNotHang) {
  MemoryNetwork network(2);
  std::vector<Status> ends(2);
  on_all_ranks(network, 2, kNever, [&](RingCommunicator& communicator) {
    std::vector<float> data(communicator.rank() == 0 ? 10 : 12, 1);
    ends[static_cast<std::size_t>(communicator.rank())] = communicator.all_reduce(data);
  });
  for (const Status& end : ends) EXPECT_EQ(end.code, Code::kPeerFailed) << end.detail;
  EXPECT_THAT(ends[0].detail + ends[1].detail, HasSubstr("bytes where"));
}

TEST(MemoryRing, MessagesOfAnOlderViewAreNotTakenForThoseOfThisOne) {
  MemoryNetwork network(2);
  const auto ghost = network.transport(1);  // still in view 7
  const float wrong = 1000;
  const auto request = ghost->send(0, {7, 0, 0}, std::as_bytes(std::span(&wrong, 1)));
  on_all_ranks(
      network, 2, kNever,
      [&](RingCommunicator& communicator) {
        std::vector<float> data(2, 1);
        EXPECT_TRUE(communicator.all_reduce(data));
        EXPECT_THAT(data, Each(2.0F));
      },
      [](int) { return 8U; });
  EXPECT_NE(ghost->test(request), Outcome::kDone);
}

TEST(MemoryRing, RanksOfDifferentViewsNeverMeet) {
  MemoryNetwork network(2);
  std::vector<Status> ends(2);
  on_all_ranks(
      network, 2, 200ms,
      [&](RingCommunicator& communicator) {
        ends[static_cast<std::size_t>(communicator.rank())] = communicator.barrier();
      },
      [](int rank) { return static_cast<std::uint32_t>(rank) + 1; });
  for (const Status& end : ends) EXPECT_THAT(end.code, AnyOf(Code::kTimeout, Code::kPeerFailed));
}

}  // namespace
}  // namespace stint::comm
