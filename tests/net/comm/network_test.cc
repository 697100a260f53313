// SPDX-License-Identifier: Apache-2.0
// The ring over UCX and TCP between four network namespaces, and links that die under load.
#include <gmock/gmock.h>
#include <sched.h>

#include <future>
#include <thread>

#include "tests/net/comm/namespaces.h"
#include "tests/unit/comm/processes.h"
#include "tests/unit/comm/reference.h"
#include "trainer/comm/ucx.h"

namespace stint::comm {
namespace {

using namespace std::chrono_literals;
using testing::AnyOf;

constexpr int kNodes = 4;
constexpr auto kSlack = 4000ms;  // a machine under load may be late by this much

Ranks::Options over(const Nodes& nodes, std::chrono::milliseconds timeout) {
  Ranks::Options options;
  options.environment = {"UCX_TLS=tcp,self", "UCX_NET_DEVICES=net0"};
  options.timeout = timeout;
  for (int node = 0; node < kNodes; ++node) options.prefix.push_back(nodes.prefix(node));
  return options;
}

std::vector<std::string> codes_of_all_in_time(Ranks& ranks, std::chrono::milliseconds timeout) {
  std::vector<std::string> codes;
  for (int rank = 0; rank < kNodes; ++rank) {
    EXPECT_EQ(ranks.await_end(rank, timeout + 2 * kSlack), 0) << "rank " << rank << " hangs or crashed";
    const auto ended = ranks.line(rank, "ended"), closed = ranks.line(rank, "closed");
    if (ended.empty() || closed.empty()) return {};
    codes.push_back(ended[1]);
    EXPECT_LE(std::stoll(ended.at(3)), (timeout + kSlack).count()) << "rank " << rank;
    EXPECT_LE(std::stoll(closed.at(1)), kSlack.count()) << "rank " << rank;
  }
  return codes;
}

TEST(Network, RingBetweenNamespacesGivesTheSameBitsAsInMemory) {
  const Nodes nodes(kNodes);
  Ranks ranks("exercise", kNodes, over(nodes, 30s));
  const std::string expected = hash_in_memory(kNodes, all_counts());
  for (int rank = 0; rank < kNodes; ++rank) {
    ASSERT_EQ(ranks.await_end(rank, 60s), 0) << "rank " << rank;
    EXPECT_EQ(ranks.line(rank, "hash").at(1), expected);
  }
}

// UCX wakes up whom it shares memory with by a socket whose name ends at the network namespace.
TEST(Network, RanksOfTwoNamespacesThatShareMemoryDoNotSleepOnAMessage) {
  UcxOptions options;
  options.transports = "posix,self";
  options.keepalive = 1h;  // ends sleeps too
  UcxTransport here(options);
  std::promise<std::string> address;
  std::promise<void> heard;
  std::jthread peer([&] {
    if (unshare(CLONE_NEWNET) != 0) return address.set_value("");
    UcxTransport there(options);
    address.set_value(there.address());
    there.connect(1, {here.address(), there.address()}, 1);
    for (std::uint32_t number = 0; number < 2; ++number) {
      std::this_thread::sleep_for(200ms);
      const std::byte sent{7};
      const auto send = there.send(0, {1, number, 0}, {&sent, 1});
      while (there.test(send) == Outcome::kPending) there.progress();
    }
    heard.get_future().wait();
  });
  const std::string theirs = address.get_future().get();
  ASSERT_NE(theirs, "") << "cannot make a network namespace";
  here.connect(0, {here.address(), theirs}, 1);
  const auto begin = std::chrono::steady_clock::now();
  for (std::uint32_t number = 0; number < 2; ++number) {
    std::byte got{0};
    const auto receive = here.receive(1, {1, number, 0}, {&got, 1});
    while (here.test(receive) == Outcome::kPending) {
      here.sleep(20s);
      while (here.progress()) continue;
    }
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 15s);
  heard.set_value();
}

// Two ranks on each of two nodes.
Ranks::Options in_pairs(const Nodes& nodes, std::chrono::milliseconds timeout) {
  Ranks::Options options;
  options.environment = {"UCX_TLS=tcp,self", "UCX_NET_DEVICES=net0", "COMM_RANK_PLACES=2"};
  options.timeout = timeout;
  for (int rank = 0; rank < kNodes; ++rank) options.prefix.push_back(nodes.prefix(rank / 2));
  return options;
}

TEST(Network, NodesOfTwoRanksGiveTheSameBitsAsInMemory) {
  const Nodes nodes(2);
  Ranks ranks("exercise", kNodes, in_pairs(nodes, 30s));
  const std::string expected = hash_in_memory(kNodes, all_counts());
  for (int rank = 0; rank < kNodes; ++rank) {
    ASSERT_EQ(ranks.await_end(rank, 60s), 0) << "rank " << rank;
    EXPECT_EQ(ranks.line(rank, "hash").at(1), expected);
  }
}

TEST(Network, LinkBetweenNodesOfTwoRanksTakenAwayEndsAllInTime) {
  const Nodes nodes(2);
  Ranks ranks("loop", kNodes, in_pairs(nodes, 3s));
  ASSERT_TRUE(ranks.await_all("running", 30s));
  nodes.pull_at_switch(1);
  const auto codes = codes_of_all_in_time(ranks, 3s);
  EXPECT_THAT(codes, testing::Contains("timeout"));
  EXPECT_THAT(codes, testing::Each(AnyOf("timeout", "peer_failed")));
}

TEST(Network, LinkTakenAwayAtTheSwitchUnderLoadIsATimeout) {
  const Nodes nodes(kNodes);
  Ranks ranks("loop", kNodes, over(nodes, 3s));
  ASSERT_TRUE(ranks.await_all("running", 30s));
  nodes.pull_at_switch(2);
  const auto codes = codes_of_all_in_time(ranks, 3s);
  EXPECT_THAT(codes, testing::Contains("timeout"));
  EXPECT_THAT(codes, testing::Each(AnyOf("timeout", "peer_failed")));
}

TEST(Network, LinkTakenAwayAtTheNodeUnderLoadIsATimeout) {
  const Nodes nodes(kNodes);
  Ranks ranks("loop", kNodes, over(nodes, 3s));
  ASSERT_TRUE(ranks.await_all("running", 30s));
  nodes.pull_at_node(1);
  const auto codes = codes_of_all_in_time(ranks, 3s);
  EXPECT_THAT(codes, testing::Contains("timeout"));
  EXPECT_THAT(codes, testing::Each(AnyOf("timeout", "peer_failed")));
}

TEST(Network, APeerThatCannotBeReachedFromTheStartEndsAllRanks) {
  const Nodes nodes(kNodes);
  nodes.pull_at_switch(3);
  Ranks ranks("loop", kNodes, over(nodes, 2s));
  const auto codes = codes_of_all_in_time(ranks, 2s);
  EXPECT_THAT(codes, testing::SizeIs(kNodes));
  EXPECT_THAT(codes, testing::Each(AnyOf("timeout", "peer_failed")));
}

}  // namespace
}  // namespace stint::comm
