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

TEST_F(SwapperTest, ANodeThatCannotBeReplacedIsToldOnceAndAgainWhenItIsBack) {
  book_->create(request("demo", 8, 0), kRoot);
  cluster_.set_node_down("node1", "bad disk");
  book_->reconcile();
  cluster_.now += 5;
  book_->reconcile();
  EXPECT_THAT(actions(), ElementsAre("booked")) << "it may be replaced in a moment";
  for (int i = 0; i < 5; ++i) {
    cluster_.now += 10;
    book_->reconcile();
  }
  restart_stintd();
  for (int i = 0; i < 5; ++i) {
    cluster_.now += 10;
    book_->reconcile();
  }
  EXPECT_THAT(actions(), ElementsAre("booked", "node lost"));
  EXPECT_EQ(book_->history("demo").back().detail, "node1: bad disk; no node of its kind is free");
  auto& node = cluster_.find_node("node1");
  node.down = node.drained = false;
  book_->reconcile();
  EXPECT_THAT(actions(), ElementsAre("booked", "node lost", "node back"));
  cluster_.set_node_down("node1", "bad disk");
  for (int i = 0; i < 3; ++i) {
    cluster_.now += 10;
    book_->reconcile();
  }
  EXPECT_THAT(actions(), ElementsAre("booked", "node lost", "node back", "node lost"));
}

}  // namespace
}  // namespace stint::reservations
