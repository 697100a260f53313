// SPDX-License-Identifier: Apache-2.0
// The ways of the collectives give the same bits, and what is chosen among them is the same on all ranks.
#include "trainer/comm/ways.h"

#include <gmock/gmock.h>

#include <thread>

#include "base/error.h"
#include "tests/unit/comm/reference.h"
#include "trainer/comm/memory.h"
#include "trainer/comm/ring.h"

namespace stint::comm {
namespace {

using namespace std::chrono_literals;

template <typename Body>
void on_all_ranks(int size, Body body) {
  MemoryNetwork network(size);
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      RingCommunicator communicator(network.transport(rank), 1, 30s);
      body(communicator);
    });
}

std::vector<Ways> all_ways(int ranks) {
  std::vector<Ways> all;
  for (const Reduce reduce : reduce_ways(ranks))
    for (const Gather gather : gather_ways(ranks)) all.push_back({reduce, gather, AllReduce::kParts});
  for (const AllReduce way : all_reduce_ways(ranks)) all.push_back({Reduce::kStraight, Gather::kRing, way});
  return all;
}

TEST(WaysTest, EachGivesTheBitsOfTheReferenceForAllSizesCountsAndTypes) {
  const std::vector<std::size_t> counts{0, 1, 5, 1000, 150'001};
  for (const int size : {1, 2, 3, 4, 5, 8})
    for (const Ways& ways : all_ways(size)) {
      WaysBySize everywhere;
      everywhere.set(0, ways);
      on_all_ranks(size, [&](RingCommunicator& communicator) {
        communicator.set_ways(everywhere);
        EXPECT_EQ(exercise(communicator, counts).complaint, "") << size << " ranks, " << everywhere.text();
      });
    }
}

TEST(WaysTest, OfAllRanksAreMeasuredToBeTheSame) {
  for (const int size : {1, 2, 3, 4}) {
    std::vector<std::string> chosen(static_cast<std::size_t>(size));
    on_all_ranks(size, [&](RingCommunicator& communicator) {
      EXPECT_TRUE(communicator.measure_ways(200ms));
      chosen[static_cast<std::size_t>(communicator.rank())] = communicator.ways().text();
      EXPECT_EQ(exercise(communicator, some_counts()).complaint, "");
    });
    EXPECT_THAT(chosen, testing::Each(chosen[0])) << size << " ranks";
  }
}

TEST(WaysTest, MeasuringEndsWithThePeer) {
  MemoryNetwork network(2);
  network.kill_after(1, 10);
  std::vector<Status> ends(2);
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < 2; ++rank)
      threads.emplace_back([&, rank] {
        RingCommunicator communicator(network.transport(rank), 1, 30s);
        const WaysBySize before = communicator.ways();
        ends[static_cast<std::size_t>(rank)] = communicator.measure_ways(10s);
        EXPECT_EQ(communicator.ways(), before);
      });
  }
  for (const Status& end : ends) EXPECT_EQ(end.code, Code::kPeerFailed);
}

TEST(WaysTest, GoByTheSizeAndAreReadAsTheyAreWritten) {
  WaysBySize ways;
  const Ways small{Reduce::kStraight, Gather::kStraight, AllReduce::kDirect};
  const Ways large{Reduce::kHalving, Gather::kDoubling, AllReduce::kParts};
  ways.set(4096, large);
  ways.set(0, small);
  EXPECT_EQ(ways.text(), "0 straight straight direct, 4096 halving doubling parts");
  EXPECT_EQ(ways(0), small);
  EXPECT_EQ(ways(4095), small);
  EXPECT_EQ(ways(4096), large);
  EXPECT_EQ(ways(1 << 30), large);
  EXPECT_EQ(WaysBySize::parse(ways.text()), ways);
  ways.set(4096, small);
  EXPECT_EQ(ways.text(), "0 straight straight direct, 4096 straight straight direct");
}

TEST(WaysTest, ThatMakeNoSenseAreRefused) {
  for (const char* bad : {"", "0", "0 straight ring", "0 straight ring direct more", "x straight ring direct",
                          "-1 straight ring direct", "0 ring ring direct"})
    EXPECT_THROW(WaysBySize::parse(bad), Error) << bad;
  const auto halving = WaysBySize::parse("0 halving doubling doubling");
  EXPECT_TRUE(halving.fit(8));
  EXPECT_FALSE(halving.fit(6));
  MemoryNetwork network(3);
  RingCommunicator communicator(network.transport(0), 1, 30s);
  EXPECT_THROW(communicator.set_ways(halving), Error);
  for (const int size : {1, 2, 3, 4, 5, 6, 7, 8, 100}) EXPECT_TRUE(WaysBySize::guess(size).fit(size));
}

}  // namespace
}  // namespace stint::comm
