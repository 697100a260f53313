// SPDX-License-Identifier: Apache-2.0
// The ring over UCX and TCP between four network namespaces, and links that die under load.
#include <gmock/gmock.h>

#include "tests/net/comm/namespaces.h"
#include "tests/unit/comm/processes.h"
#include "tests/unit/comm/reference.h"

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
