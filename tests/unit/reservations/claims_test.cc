// SPDX-License-Identifier: Apache-2.0
#include "reservations/claims.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <tuple>

#include "tests/unit/reservations/fake_cluster.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::ElementsAre;
using testing::IsEmpty;

sys_seconds at(int second) {
  return sys_seconds{seconds{second}};
}

Segment segment() {
  return {"demo.0", at(100), at(200), {"n1", "n2", "n3"}};
}

ClusterReservation taken(const std::string& name, int start, int end, std::vector<std::string> nodes) {
  return {name, at(start), at(end), std::move(nodes), {}, ""};
}

// Start, end and nodes of each room.
using Rooms = std::vector<std::tuple<int, int, std::vector<std::string>>>;
Rooms rooms(const std::vector<ClusterReservation>& reservations, std::size_t count,
            const std::vector<std::string>& own = {}, int now = 0) {
  Rooms rooms;
  const auto claims = claims_on(segment(), by_node(reservations), at(now));
  for (const auto& room : rooms_in(segment(), claims, count, own, at(now))) {
    EXPECT_EQ(room.reservation, "demo.0");
    rooms.emplace_back(static_cast<int>(room.start.time_since_epoch().count()),
                       static_cast<int>(room.end.time_since_epoch().count()), room.nodes);
  }
  return rooms;
}

const std::vector<std::string> kAll{"n1", "n2", "n3"};

TEST(Claims, ReservationsBeforeAndAfterASegmentAndElsewhereClaimNothing) {
  const auto own = segment();
  const std::vector<ClusterReservation> others{
      taken("demo.0", 100, 200, own.nodes), taken("before", 0, 100, {"n1"}), taken("after", 200, 250, {"n2"}),
      taken("elsewhere", 100, 200, {"n4"})};
  EXPECT_THAT(claims_on(own, by_node(others), at(0)), IsEmpty());
}

TEST(Claims, AreToldByNodeAndTimeWhatIsOverLeftOut) {
  std::vector<std::pair<std::string, std::string>> told;
  const std::vector<ClusterReservation> others{taken("late", 150, 300, {"n1", "n2"}),
                                               taken("early", 120, 130, {"n1"}),
                                               taken("over", 50, 110, {"n1"})};
  for (const auto& claim : claims_on(segment(), by_node(others), at(110)))
    told.emplace_back(claim.node, claim.reservation);
  EXPECT_THAT(told, ElementsAre(std::pair("n1", "early"), std::pair("n1", "late"), std::pair("n2", "late")));
}

TEST(Rooms, MaintenanceOfAllNodesLeavesTheTimeBeforeAndAfterIt) {
  EXPECT_THAT(rooms({taken("maint", 140, 160, kAll)}, 1),
              ElementsAre(std::tuple(100, 140, kAll), std::tuple(160, 200, kAll)));
}

TEST(Rooms, AJobThatNeedsFewerNodesThanAreLeftHasTheWholeSegmentOnThem) {
  EXPECT_THAT(rooms({taken("maint", 140, 160, {"n2"})}, 2),
              ElementsAre(std::tuple(100, 200, std::vector<std::string>{"n1", "n3"})));
}

TEST(Rooms, NodesClaimedOneAfterTheOtherMakeSeveralRooms) {
  EXPECT_THAT(
      rooms({taken("a", 120, 130, {"n1"}), taken("b", 150, 160, {"n2"})}, 3),
      ElementsAre(std::tuple(100, 120, kAll), std::tuple(130, 150, kAll), std::tuple(160, 200, kAll)));
}

TEST(Rooms, ARunningJobKeepsItsNodesUntilAClaimOnThemBegins) {
  const std::vector<ClusterReservation> maintenance{taken("now", 90, 130, {"n1"}),
                                                    taken("later", 150, 160, {"n1"})};
  EXPECT_THAT(
      rooms(maintenance, 1, {"n1"}, 110),
      ElementsAre(std::tuple(100, 150, kAll), std::tuple(150, 200, std::vector<std::string>{"n2", "n3"})));
  EXPECT_THAT(rooms(maintenance, 1, {"n2"}, 110), ElementsAre(std::tuple(100, 200, kAll)));
}

TEST(Rooms, WithoutAnyTheSegmentStandsAsItIs) {
  EXPECT_THAT(rooms({taken("maint", 0, 300, kAll)}, 1), ElementsAre(std::tuple(100, 200, kAll)));
}

// Instant by instant: within a room its nodes are unclaimed and enough; a room could not be longer, and
// outside of rooms too few are unclaimed.
TEST(Rooms, AreThoseOfABruteForceModel) {
  std::mt19937 random(3);
  const auto pick = [&](int from, int to) { return std::uniform_int_distribution(from, to)(random); };
  for (int round = 0; round < 3'000; ++round) {
    std::vector<ClusterReservation> others;
    for (int i = pick(1, 5); i > 0; --i) {
      const int start = pick(90, 205);
      std::vector<std::string> nodes;
      for (const auto& node : kAll) {
        if (pick(0, 1) == 1) nodes.push_back(node);
      }
      others.push_back(taken("r" + std::to_string(i), start, start + pick(1, 60), nodes));
    }
    const auto count = static_cast<std::size_t>(pick(1, 3));
    const auto free_through = [&](int from, int to) {
      std::size_t free = 0;
      for (const auto& node : kAll) {
        free += std::none_of(others.begin(), others.end(), [&](const ClusterReservation& other) {
          const bool has = std::find(other.nodes.begin(), other.nodes.end(), node) != other.nodes.end();
          return has && other.start < at(to) && at(from) < other.end;
        });
      }
      return free;
    };
    const auto found = rooms(others, count);
    int time = 100;
    for (const auto& [start, end, nodes] : found) {
      if (found.size() == 1 && start == 100 && end == 200 && free_through(100, 200) < count) {
        for (int t = 100; t < 200; ++t) ASSERT_LT(free_through(t, t + 1), count);
        time = 200;
        break;
      }
      for (; time < start; ++time) ASSERT_LT(free_through(time, time + 1), count);
      ASSERT_EQ(free_through(start, end), nodes.size());
      ASSERT_GE(nodes.size(), count);
      if (end < 200) {
        ASSERT_LT(free_through(start, end + 1), count);
      }
      time = end;
    }
    for (; time < 200; ++time) ASSERT_LT(free_through(time, time + 1), count);
  }
}

TEST(ReservationBoard, AClockThatIsSetBackDoesNotHideWhatSlurmHas) {
  FakeCluster cluster{2};
  cluster.now = 1'000;
  ReservationBoard board(cluster, [&] { return cluster.now; });
  EXPECT_TRUE(board.of_nodes()->empty());
  cluster.reservations_["maintenance"] = {"maintenance", at(1'000), at(2'000), {"node1"}, {"root"}, "main"};
  cluster.now -= 300;
  EXPECT_FALSE(board.of_nodes()->empty());
}

}  // namespace
}  // namespace stint::reservations
