// SPDX-License-Identifier: Apache-2.0
// Everything that the shepherd does to a job, killed at every point where something lasts: the next stintd
// goes on, and the job ends up as if nobody had been killed.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "reservations/kill_point.h"
#include "tests/unit/reservations/shepherd_fixture.h"

namespace stint::reservations {
namespace {

using std::chrono::minutes;

constexpr std::uint32_t kFirst = 3;  // a job that was there before kJob

class World : public ShepherdTest {
 public:
  // The stintd that passes the so manyth point is killed there, and the next one looks at once; 0: none is.
  explicit World(int kill_at) : kill_at_(kill_at) {}
  ~World() override { set_kill_handler({}); }
  void TestBody() override {}

  void tick(double time) {
    set_kill_handler([this](std::string_view at) {
      if (++passed_ != kill_at_) return;
      killed_at_ = at;
      throw FakeCluster::Killed();
    });
    try {
      tend_at(time);
    } catch (const FakeCluster::Killed&) {
      restart_stintd();
      tend_at(time);
    }
    set_kill_handler({});
  }
  // One node of a plan that has a spare, which the other job leaves to it.
  void add_crowd() {
    plan_.nodes = plan_.spares = 1;
    book({{"sft.0", at(1'000), at(4'600), nodes_}});
    auto& first = cluster_.add_job(kFirst, {"node1"}, "sft.0", "stint plan=sft");
    first.started = at(1'001);
    first.end = at(4'600);
    first.time_limit = minutes{59};
  }
  ClusterJob& add_on_spare() {
    auto& job = add_running();
    job.nodes = {"node2"};
    return job;
  }
  void finish_first() { cluster_.jobs_[kFirst].state = JobState::kFinished; }
  void finish(const char* how) {
    job().state = JobState::kFinished;
    (how == std::string("warning") ? job().killed_by_warning : job().timed_out) = true;
    job().end = at(static_cast<int>(cluster_.now));
  }
  void leave_queue() { job().state = JobState::kPending; }
  void lengthen() {
    auto longer = plan_.segments.back();
    longer.end += minutes{60};
    ledger_.set_segment(plan_.id, plan_.segments.size() - 1, longer, {cluster_.now, "root", "extended", ""});
  }

  // What becomes of it; its events may lack the one that was about to be written.
  std::string outcome() {
    const auto& j = job();
    return fmt::format("state {} in {}, restart {}, held {}, until {}, limit {}, {}",
                       static_cast<int>(j.state), j.reservation, j.restart, j.held,
                       j.end ? j.end->time_since_epoch().count() : 0,
                       j.time_limit ? j.time_limit->count() : 0, j.admin_comment);
  }
  int passed() const { return passed_; }
  const std::string& killed_at() const { return killed_at_; }

  using ShepherdTest::add_pending;
  using ShepherdTest::add_running;
  using ShepherdTest::book;
  using ShepherdTest::job;
  using ShepherdTest::nodes_;

 private:
  int kill_at_;
  int passed_ = 0;
  std::string killed_at_;
};

struct Life {
  std::string name;
  std::function<void(World&)> live;
};

std::vector<Life> lives() {
  return {
      {"WaitsAndMovesOn",
       [](World& w) {
         w.add_pending();
         for (const double time : {1'500, 1'550, 1'560}) w.tick(time);
       }},
      {"IsHeldWhenThePlanIsOverAndReleasedWhenItIsLonger",
       [](World& w) {
         w.add_pending("sft.1");
         w.tick(3'600);
         w.lengthen();
         for (const double time : {3'602, 3'604, 3'606}) w.tick(time);
       }},
      {"IsCancelledSomeTimeAfterThePlan",
       [](World& w) {
         w.add_pending("sft.1");
         for (const double time : {3'600, 7'201}) w.tick(time);
       }},
      {"IsWarnedAndSentOn",
       [](World& w) {
         w.add_running();
         for (const double time : {1'010, 1'541, 1'590}) w.tick(time);
         w.leave_queue();
         w.tick(1'595);
       }},
      {"RollsOver",
       [](World& w) {
         w.book({{"sft.0", at(1'000), at(1'600), w.nodes_}, {"sft.1", at(1'600), at(2'200), w.nodes_}});
         w.add_running();
         for (const double time : {1'010, 1'540, 1'590, 1'610}) w.tick(time);
       }},
      {"DiesOfTheWarningAndIsBroughtBack",
       [](World& w) {
         w.add_running();
         w.tick(1'541);
         w.finish("warning");
         w.tick(1'542);
         w.leave_queue();
         w.tick(1'544);
       }},
      {"IsEndedBySlurmAndBroughtBack",
       [](World& w) {
         w.add_running("stint plan=sft recipe=tiny@12345678");
         w.tick(1'590);
         w.finish("limit");
         w.tick(1'621);
         w.leave_queue();
         w.tick(1'625);
       }},
      {"WaitsBehindTheLastNode",
       [](World& w) {
         w.add_crowd();
         w.add_pending();
         w.tick(1'100);
         w.finish_first();
         for (const double time : {1'103, 1'106}) w.tick(time);
       }},
      {"BeganOnASpareAndWaits",
       [](World& w) {
         w.add_crowd();
         w.add_on_spare();
         w.tick(1'100);
         w.leave_queue();
         w.tick(1'103);
         w.finish_first();
         for (const double time : {1'106, 1'109}) w.tick(time);
       }},
      {"BeganOnASpareAndCannotWait",
       [](World& w) {
         w.add_crowd();
         w.add_on_spare().batch = false;
         for (const double time : {1'100, 1'103}) w.tick(time);
       }},
  };
}

class ShepherdKill : public testing::TestWithParam<Life> {};

TEST_P(ShepherdKill, TheJobEndsUpAsIfNobodyHadBeenKilled) {
  World whole(0);
  GetParam().live(whole);
  ASSERT_GT(whole.passed(), 0);
  for (int n = 1; n <= whole.passed(); ++n) {
    World world(n);
    GetParam().live(world);
    EXPECT_EQ(world.outcome(), whole.outcome()) << "killed at " << world.killed_at() << ", point " << n;
  }
}

INSTANTIATE_TEST_SUITE_P(Lives, ShepherdKill, testing::ValuesIn(lives()),
                         [](const testing::TestParamInfo<Life>& info) { return info.param.name; });

}  // namespace
}  // namespace stint::reservations
