// SPDX-License-Identifier: Apache-2.0
#include "reservations/swapper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/reservations/book_fixture.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class SwapperTest : public BookTest {
 protected:
  // As an admin does it: over whatever is there.
  void lay_over(const std::vector<std::string>& nodes, seconds from, seconds until) {
    cluster_.reservations_["maint"] = {"maint", now() + from, now() + until, nodes, {"root"}, ""};
  }
  std::vector<std::string> actions() {
    std::vector<std::string> actions;
    for (const auto& entry : book_->history("demo")) actions.push_back(entry.action);
    return actions;
  }
};

TEST_F(SwapperTest, ANodeThatMaintenanceTakesIsReplacedByOneThatIsFree) {
  book_->create(request("demo", 2, 0), kRoot);
  const auto before = book_->show("demo").segments[0].nodes;
  lay_over({before[0]}, seconds{300}, seconds{900});
  book_->reconcile();
  const auto after = book_->show("demo").segments[0].nodes;
  EXPECT_THAT(after, testing::Not(testing::Contains(before[0])));
  EXPECT_THAT(cluster_.reservations_.at("demo.0").nodes, testing::UnorderedElementsAreArray(after));
  EXPECT_THAT(book_->history("demo").back().detail, HasSubstr("reservation maint takes it from"));
}

TEST_F(SwapperTest, WithoutAFreeNodeThePlanKeepsItsOwnAndSaysSoOnce) {
  book_->create(request("demo", 8, 0), kRoot);
  lay_over({"node1", "node2"}, seconds{300}, seconds{900});
  book_->reconcile();
  restart_stintd();
  book_->reconcile();
  EXPECT_THAT(actions(), ElementsAre("booked", "nodes claimed"));
  EXPECT_THAT(book_->history("demo").back().detail, HasSubstr("node[1-2] of demo.0: reservation maint"));
}

TEST_F(SwapperTest, ANodeOnWhichAJobOfThePlanRunsStays) {
  book_->create(request("demo", 2, 0), kRoot);
  const auto nodes = book_->show("demo").segments[0].nodes;
  cluster_.add_job(7, nodes, "demo.0");
  lay_over({nodes[0]}, seconds{300}, seconds{900});
  book_->reconcile();
  EXPECT_EQ(book_->show("demo").segments[0].nodes, nodes);
  cluster_.jobs_.clear();
  book_->reconcile();
  EXPECT_NE(book_->show("demo").segments[0].nodes, nodes);
}

TEST_F(SwapperTest, ReservationsBeforeAndAfterASegmentClaimNothing) {
  const Segment segment{"demo.0", now() + seconds{100}, now() + seconds{200}, {"node1", "node2"}};
  const std::vector<ClusterReservation> reservations{
      {"demo.0", segment.start, segment.end, segment.nodes, {}, ""},
      {"before", now(), segment.start, {"node1"}, {}, ""},
      {"after", segment.end, segment.end + seconds{50}, {"node2"}, {}, ""},
      {"elsewhere", segment.start, segment.end, {"node3"}, {}, ""}};
  EXPECT_THAT(claims_on(segment, by_node(reservations), now()), IsEmpty());
}

TEST_F(SwapperTest, OfSeveralClaimsOnANodeTheFirstInTimeIsTold) {
  const Segment segment{"demo.0", now(), now() + seconds{200}, {"node1", "node2"}};
  const std::vector<ClusterReservation> reservations{
      {"late", now() + seconds{150}, now() + seconds{300}, {"node1", "node2"}, {}, ""},
      {"early", now() + seconds{50}, now() + seconds{60}, {"node1"}, {}, ""}};
  std::vector<std::pair<std::string, std::string>> told;
  for (const auto& claim : claims_on(segment, by_node(reservations), now()))
    told.emplace_back(claim.node, claim.reservation);
  EXPECT_THAT(told, UnorderedElementsAre(std::pair("node1", "early"), std::pair("node2", "late")));
}

}  // namespace
}  // namespace stint::reservations
