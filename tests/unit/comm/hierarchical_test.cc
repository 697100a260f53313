// SPDX-License-Identifier: Apache-2.0
// The collectives among nodes of several ranks: ranks as threads, real shared memory within a node, the
// network in memory between nodes.
#include "trainer/comm/hierarchical.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <thread>

#include "base/error.h"
#include "tests/unit/comm/reference.h"
#include "trainer/comm/memory.h"
#include "trainer/comm/subgroup.h"

namespace stint::comm {
namespace {

using namespace std::chrono_literals;
using testing::AnyOf;
using testing::Each;
using testing::HasSubstr;

constexpr auto kNever = 30s;
constexpr std::size_t kData = 8 << 20;
constexpr std::uint32_t kEpoch = 3;

struct Layout {
  int nodes, places;
};

std::string name_of(const Layout& layout) {
  return fmt::format("{}NodesOf{}", layout.nodes, layout.places);
}

std::vector<int> nodes_of(const Layout& layout) {
  std::vector<int> nodes;
  for (int r = 0; r < layout.nodes * layout.places; ++r) nodes.push_back(layout.nodes - r / layout.places);
  return nodes;
}

// A network and a segment a node; each rank a thread.
class Cluster {
 public:
  Cluster(const Layout& layout, std::chrono::milliseconds timeout)
      : layout_(layout), timeout_(timeout), network_(layout.nodes * layout.places), nodes_(nodes_of(layout)) {
    for (int node = 0; node < layout.nodes; ++node)
      segments_.push_back(ShmSegment::create({layout.places, kEpoch, kData}));
  }

  template <typename Body>
  void on_all_ranks(Body body) {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < layout_.nodes * layout_.places; ++rank)
      threads.emplace_back([&, rank] {
        HierarchicalCommunicator communicator(network_.transport(rank),
                                              ShmSegment::adopt(dup(segment_of(rank).descriptor())), nodes_,
                                              kEpoch, timeout_);
        body(communicator);
      });
  }
  // Each rank's end of `one`, called again and again.
  template <typename One>
  std::vector<Status> until_failure(One one) {
    std::vector<Status> ends(nodes_.size());
    on_all_ranks([&](HierarchicalCommunicator& communicator) {
      Status status;
      while (status) status = one(communicator);
      ends[static_cast<std::size_t>(communicator.rank())] = status;
    });
    return ends;
  }
  MemoryNetwork& network() { return network_; }
  const ShmSegment& segment_of(int rank) const {
    return segments_[static_cast<std::size_t>(rank / layout_.places)];
  }

 private:
  Layout layout_;
  std::chrono::milliseconds timeout_;
  MemoryNetwork network_;
  std::vector<int> nodes_;
  std::vector<ShmSegment> segments_;
};

Status add_up(Communicator& communicator) {
  std::vector<float> data(200'000, 1);
  return communicator.all_reduce(data);
}

class Hierarchy : public testing::TestWithParam<Layout> {};

INSTANTIATE_TEST_SUITE_P(Layouts, Hierarchy,
                         testing::Values(Layout{1, 1}, Layout{1, 2}, Layout{1, 4}, Layout{2, 1}, Layout{3, 1},
                                         Layout{2, 2}, Layout{3, 2}, Layout{5, 2}, Layout{2, 4},
                                         Layout{3, 4}),
                         [](const auto& info) { return name_of(info.param); });

// The others are cut off from it.
TEST(HierarchySums, OfFewBytesNeedTheNetworkOfOneRankANode) {
  Cluster cluster({2, 4}, kNever);
  for (const int rank : {1, 2, 3, 5, 6, 7}) cluster.network().kill(rank);
  cluster.on_all_ranks([](HierarchicalCommunicator& communicator) {
    std::vector<float> floats(1024, 1);
    EXPECT_TRUE(communicator.all_reduce(floats));
    EXPECT_THAT(floats, Each(8));
    std::vector<Bf16> halves(2048, to_bf16(1));
    EXPECT_TRUE(communicator.all_reduce(halves));
    for (const Bf16 half : halves) EXPECT_EQ(to_float(half), 8);
    floats.resize(1025);
    EXPECT_FALSE(communicator.all_reduce(floats));
  });
}

TEST_P(Hierarchy, EqualsTheReferenceAndTheFlatRingBitForBit) {
  const std::string expected = hash_in_memory(GetParam().nodes * GetParam().places, all_counts());
  for (const bool in_place : {false, true}) {
    Cluster cluster(GetParam(), kNever);
    cluster.on_all_ranks([&](HierarchicalCommunicator& communicator) {
      const auto memory = in_place ? communicator.memory() : std::span<std::byte>();
      const Exercise result = exercise(communicator, all_counts(), memory);
      EXPECT_EQ(result.complaint, "") << "in place: " << in_place;
      EXPECT_EQ(fmt::format("{:016x}", result.hash), expected);
    });
  }
}

TEST_P(Hierarchy, CarriesMessagesBetweenAnyTwoRanks) {
  Cluster cluster(GetParam(), kNever);
  cluster.on_all_ranks([&](HierarchicalCommunicator& communicator) {
    const int rank = communicator.rank();
    for (int from = 0; from < communicator.size(); ++from)
      for (int to = 0; to < communicator.size(); ++to) {
        std::vector<int> message(5000, from * 100 + to), got(message.size());
        if (from == to || (rank != from && rank != to)) continue;
        if (rank == from) {
          EXPECT_TRUE(communicator.send(std::as_bytes(std::span(message)), to));
        } else {
          EXPECT_TRUE(communicator.receive(std::as_writable_bytes(std::span(got)), from));
          EXPECT_EQ(got, message);
        }
      }
  });
}

// State sharded in the node and replicated across, in turn; and groups that are neither.
TEST(HierarchyGroups, ThoseOfANodeAndOfAPlaceAreItsOwnParts) {
  Cluster cluster({3, 2}, kNever);
  const std::vector<std::size_t> counts{0, 3, 1000, 300'000};
  cluster.on_all_ranks([&](HierarchicalCommunicator& whole) {
    const int place = whole.rank() % 2, node = whole.rank() / 2;
    const std::vector<int> beside{2 * node, 2 * node + 1}, alike{place, place + 2, place + 4};
    const std::vector<int> halves = whole.rank() < 3 ? std::vector<int>{0, 1, 2} : std::vector<int>{3, 4, 5};
    EXPECT_EQ(whole.among({0, 1, 2, 3, 4, 5}), &whole);
    EXPECT_EQ(whole.among(halves), nullptr);
    for (const auto& ranks : {beside, alike, halves}) {
      Subgroup group(whole, ranks);
      EXPECT_EQ(exercise(group, counts).complaint, "");
      EXPECT_EQ(exercise(whole, std::span(counts).first(3)).complaint, "");
    }
  });
}

TEST(HierarchyGroups, OfWhichOneFailsEndTheWholeAndTheOther) {
  Cluster cluster({2, 2}, kNever);
  cluster.network().kill_after(0, 20);
  for (const Status& end : cluster.until_failure([&](HierarchicalCommunicator& whole) -> Status {
         std::vector<float> data(100'000, 1);
         const int place = whole.rank() % 2, node = whole.rank() / 2;
         Subgroup beside(whole, {2 * node, 2 * node + 1}), alike(whole, {place, place + 2});
         if (Status status = beside.reduce_scatter(data); !status) return status;
         if (Status status = alike.all_reduce(data); !status) return status;
         if (Status status = beside.all_gather(data); !status) return status;
         return whole.barrier();
       }))
    EXPECT_EQ(end.code, Code::kPeerFailed) << end.detail;
}

TEST(HierarchyFits, EqualPowersOfTwoSideBySide) {
  const auto fits = [](std::vector<int> nodes) { return fits_hierarchy(nodes); };
  EXPECT_TRUE(fits({0}));
  EXPECT_TRUE(fits({0, 0}));
  EXPECT_TRUE(fits({5, 5, 1, 1, 3, 3}));
  EXPECT_TRUE(fits({2, 1, 0}));
  EXPECT_FALSE(fits({}));
  EXPECT_FALSE(fits({0, 0, 0}));
  EXPECT_FALSE(fits({0, 0, 0, 1, 1, 1}));
  EXPECT_FALSE(fits({0, 0, 1}));
  EXPECT_FALSE(fits({0, 1, 0, 1}));
  EXPECT_FALSE(fits({0, 0, 1, 1, 0, 0}));
  EXPECT_FALSE(fits({0, 0, 1, 2}));
}

TEST(HierarchyFits, WhatDoesNotIsRefused) {
  MemoryNetwork network(3);
  const auto transport = network.transport(2);
  EXPECT_THAT(
      [&] {
        const HierarchicalCommunicator communicator(*transport, ShmSegment::create({1, kEpoch, 0}),
                                                    std::vector<int>{0, 0, 1}, kEpoch, kNever);
      },
      testing::ThrowsMessage<Error>(HasSubstr("hierarchy: 3 ranks, 1 of them on this node")));
}

class HierarchyFailure : public testing::TestWithParam<Layout> {};

INSTANTIATE_TEST_SUITE_P(Layouts, HierarchyFailure,
                         testing::Values(Layout{2, 1}, Layout{2, 2}, Layout{3, 2}, Layout{2, 4}),
                         [](const auto& info) { return name_of(info.param); });

TEST_P(HierarchyFailure, OnTheNetworkIsToldToTheWholeNodeAndAllOthers) {
  for (int sends : {0, 1, 7, 30}) {
    Cluster cluster(GetParam(), kNever);
    cluster.network().kill_after(1, sends);
    const auto begin = std::chrono::steady_clock::now();
    for (const Status& end : cluster.until_failure(add_up)) {
      EXPECT_EQ(end.code, Code::kPeerFailed) << end.detail;
      EXPECT_THAT(end.detail, HasSubstr("all_reduce: "));
    }
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s) << "by word, not by the clock";
  }
}

class DeathInANode : public testing::TestWithParam<Layout> {};

INSTANTIATE_TEST_SUITE_P(Layouts, DeathInANode, testing::Values(Layout{2, 2}, Layout{3, 2}, Layout{2, 4}),
                         [](const auto& info) { return name_of(info.param); });

TEST_P(DeathInANode, EndsTheNetworkToo) {
  Cluster cluster(GetParam(), kNever);
  std::atomic<int> turns = 0;
  const auto ends = cluster.until_failure([&](HierarchicalCommunicator& communicator) -> Status {
    if (communicator.rank() == 1 && ++turns == 4) {
      cluster.segment_of(1).declare_dead(1);
      return {Code::kRevoked, -1, "dead"};
    }
    return add_up(communicator);
  });
  for (std::size_t rank = 0; rank < ends.size(); ++rank) {
    if (rank == 1) continue;
    EXPECT_EQ(ends[rank].code, Code::kPeerFailed) << ends[rank].detail;
    EXPECT_EQ(ends[rank].peer, 1) << ends[rank].detail;
  }
}

TEST_P(HierarchyFailure, OfARankThatSaysNoMoreIsATimeoutForAllOfThem) {
  constexpr auto kTimeout = 400ms;
  Cluster cluster(GetParam(), kTimeout);
  std::atomic<int> turns = 0;
  const auto begin = std::chrono::steady_clock::now();
  const auto ends = cluster.until_failure([&](HierarchicalCommunicator& communicator) -> Status {
    if (communicator.rank() == 0 && ++turns == 3) {
      std::this_thread::sleep_for(3 * kTimeout);
      return {Code::kTimeout, -1, "slept"};
    }
    return add_up(communicator);
  });
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10 * kTimeout);
  for (const Status& end : ends)
    EXPECT_THAT(end.code, AnyOf(Code::kTimeout, Code::kPeerFailed)) << end.detail;
}

TEST_P(HierarchyFailure, RevokeFromAnotherThreadIsToldToAll) {
  Cluster cluster(GetParam(), kNever);
  std::vector<Status> ends(nodes_of(GetParam()).size());
  cluster.on_all_ranks([&](HierarchicalCommunicator& communicator) {
    std::jthread revoker;
    if (communicator.rank() == 0)
      revoker = std::jthread([&] {
        std::this_thread::sleep_for(30ms);
        communicator.revoke();
      });
    Status status;
    while (status) status = add_up(communicator);
    EXPECT_EQ(communicator.barrier().detail, status.detail) << "the first failure stays";
    ends[static_cast<std::size_t>(communicator.rank())] = status;
  });
  EXPECT_EQ(ends[0].code, Code::kRevoked) << ends[0].detail;
  for (const Status& end : std::span(ends).subspan(1)) EXPECT_EQ(end.code, Code::kPeerFailed) << end.detail;
}

TEST(HierarchyFailure, ARankThatLeavesAfterABarrierFailsNobody) {
  for (int round = 0; round < 20; ++round) {
    Cluster cluster({2, 4}, kNever);
    cluster.on_all_ranks([](HierarchicalCommunicator& communicator) {
      EXPECT_TRUE(add_up(communicator));
      const Status status = communicator.barrier();
      EXPECT_TRUE(status) << status.detail;
    });
  }
}

TEST(HierarchyFailure, RanksOfANodeThatDisagreeEndAll) {
  Cluster cluster({2, 2}, kNever);
  for (const Status& end : cluster.until_failure([](HierarchicalCommunicator& communicator) {
         std::vector<float> data(communicator.rank() == 3 ? 12 : 10, 1);
         return communicator.all_reduce(data);
       }))
    EXPECT_EQ(end.code, Code::kPeerFailed) << end.detail;
}

}  // namespace
}  // namespace stint::comm
