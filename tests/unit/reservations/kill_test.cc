// SPDX-License-Identifier: Apache-2.0
// Every operation on a plan, killed at every point where something lasts: the next stintd brings the ledger,
// Slurm and the plan table together, as the plan was or as it was wanted, also when it is killed while it
// does so.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/plan_table.h"
#include "reservations/kill_point.h"
#include "tests/unit/reservations/book_fixture.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;

class World : public BookTest {
 public:
  World() {
    cluster_.now = 999'960;  // a full minute
    settings_.policy.book.everyone = true;
    settings_.policy.approve_above_nodes = 5;
    restart_stintd();
  }
  void TestBody() override {}

  // demo: four nodes and a spare, for ten minutes from now on.
  void book_demo() { book_->create(request(), kRoot); }
  // Large enough to wait for approval; begins in an hour.
  void ask_for_large() {
    auto wanted = request("demo", 6, 0);
    wanted.start = now() + seconds{3'600};
    book_->create(wanted, kUser);
  }
  void book_two_segments() {
    OfferRequest wanted;
    wanted.query.nodes = 3;
    wanted.query.spares = 1;
    wanted.query.duration = seconds{5'400};
    wanted.query.min_segment = seconds{600};
    wanted.query.max_segments = 2;
    PlanRequest by_offer;
    by_offer.name = "demo";
    by_offer.offer = book_->offers().search(wanted, kRoot).offers.back().first;
    book_->create(by_offer, kRoot);
  }
  void wall(seconds from, seconds to) {
    std::vector<std::string> all;
    for (const auto& node : cluster_.nodes_) all.push_back(node.name);
    cluster_.reservations_["wall"] = {"wall", now() + from, now() + to, all, {"root"}, "main"};
  }
  void add_job() { cluster_.add_job(7, {show().segments[0].nodes[0]}, "demo.0"); }
  std::string extension(const ExtendRequest& wanted) {
    return book_->offer_extension("demo", wanted, kRoot).offers.at(0).first;
  }
  void extend_time() {
    ExtendRequest wanted;
    wanted.duration = seconds{600};
    book_->extend("demo", extension(wanted), kRoot);
  }
  void extend_nodes() {
    ExtendRequest wanted;
    wanted.nodes = 5;
    book_->extend("demo", extension(wanted), kRoot);
  }
  void shrink_time() {
    ShrinkRequest wanted;
    wanted.until = now() + seconds{300};
    book_->shrink("demo", wanted, kRoot);
  }
  void shrink_nodes() {
    ShrinkRequest wanted;
    wanted.nodes = 2;
    book_->shrink("demo", wanted, kRoot);
  }
  void lose_node() { cluster_.set_node_down(show().segments[0].nodes[0], "stint: slurmd does not answer"); }

  void release_idle() {
    settings_.policy.release_idle_after = seconds{20};
    settings_.policy.release_notice = seconds{10};
    restart_stintd();
  }

  Plan show() { return book_->show("demo"); }
  Book& book() { return *book_; }
  FakeCluster& cluster() { return cluster_; }
  void restart() { restart_stintd(); }
  void settle() {
    restart_stintd();
    for (int i = 0; i < 3; ++i) book_->reconcile();
  }

  // What people see of the plan, and Slurm has of it.
  std::string outcome() {
    const auto plan = ledger_.find_plan("demo");
    if (!plan || plan->phase == Phase::kFailed || plan->phase == Phase::kCancelled) return "nothing";
    std::string text = fmt::format("{} {}+{} {} of {}, {}", to_string(plan->phase), plan->nodes, plan->spares,
                                   plan->price.amount(), plan->owner, fmt::join(plan->users, ","));
    text += fmt::format(" [{}]", to_string(plan->tags));
    for (const auto& segment : plan->segments) {
      text += fmt::format("; {} {} {}-{}", segment.reservation, fmt::join(segment.nodes, ","),
                          segment.start.time_since_epoch().count(), segment.end.time_since_epoch().count());
    }
    return text;
  }

  // Ledger, Slurm and table say the same, and nothing is left half done.
  void expect_agreement(const std::string& when) {
    SCOPED_TRACE(when);
    std::map<std::string, ClusterReservation> wanted;
    const auto plan = ledger_.find_plan("demo");
    if (plan) {
      EXPECT_NE(plan->phase, Phase::kBooking);
      EXPECT_NE(plan->phase, Phase::kCancelling);
      EXPECT_FALSE(ledger_.open_change(plan->id));
      if (plan->live_at(now())) {
        for (const auto& s : plan->segments)
          wanted[s.reservation] = {s.reservation, s.start, s.end, s.nodes, plan->users, "main"};
      }
    }
    auto there = cluster_.reservations_;
    there.erase("wall");
    EXPECT_EQ(names(there), names(wanted));
    for (const auto& [name, reservation] : there) {
      if (!wanted.contains(name)) continue;
      EXPECT_EQ(reservation.start, wanted[name].start);
      EXPECT_EQ(reservation.end, wanted[name].end);
      EXPECT_THAT(reservation.nodes, testing::UnorderedElementsAreArray(wanted[name].nodes));
      EXPECT_THAT(reservation.users, testing::UnorderedElementsAreArray(wanted[name].users));
    }
    PlanTable expected;
    if (plan) expected.plans.push_back(to_table_row(*plan, now()));
    auto written = table();
    expected.written = written.written = now();
    EXPECT_EQ(written.format(), expected.format());
  }

  static constexpr std::uint32_t kUser = 1;  // daemon, who is no operator

 private:
  static std::vector<std::string> names(const std::map<std::string, ClusterReservation>& reservations) {
    std::vector<std::string> names;
    for (const auto& [name, reservation] : reservations) names.push_back(name);
    return names;
  }
};

struct Operation {
  std::string name;
  std::function<void(World&)> prepare;
  std::function<void(World&)> act;
};

// Throws at the so manyth point from now; 0: never. Counts the points that were passed.
class KillAt {
 public:
  explicit KillAt(int point) {
    set_kill_handler([this, point](std::string_view name) {
      if (++passed_ != point) return;
      at_ = name;
      throw FakeCluster::Killed();
    });
  }
  ~KillAt() { set_kill_handler({}); }
  KillAt(const KillAt&) = delete;
  KillAt& operator=(const KillAt&) = delete;
  int passed() const { return passed_; }
  const std::string& at() const { return at_; }

 private:
  int passed_ = 0;
  std::string at_;
};

void nothing(World& world) {
  world.book().reconcile();
}

void demo(World& world) {
  world.book_demo();
}

void refused(const std::function<void()>& act) {
  try {
    act();
    ADD_FAILURE() << "it was not refused";
  } catch (const Refusal&) {
  }
}

std::vector<Operation> operations() {
  return {
      {"book", nothing, [](World& w) { w.book_demo(); }},
      {"book two segments",
       [](World& w) {
         w.wall(seconds{3'600}, seconds{36'000});
         nothing(w);
       },
       [](World& w) { w.book_two_segments(); }},
      {"ask for approval", nothing, [](World& w) { w.ask_for_large(); }},
      {"approve", [](World& w) { w.ask_for_large(); }, [](World& w) { w.book().approve("demo", kRoot); }},
      {"cancel what waits for approval", [](World& w) { w.ask_for_large(); },
       [](World& w) { w.book().cancel("demo", kRoot, false); }},
      {"book what Slurm refuses",
       [](World& w) {
         w.wall(seconds{3'600}, seconds{36'000});
         nothing(w);
       },
       [](World& w) {
         w.cluster().after_create = [&w] { w.wall(seconds{3'600}, seconds{360'000}); };
         refused([&] { w.book_two_segments(); });
       }},
      {"extend where Slurm refuses", demo,
       [](World& w) {
         w.cluster().refuses_updates = true;
         refused([&] { w.extend_time(); });
       }},
      {"extend in time", demo, [](World& w) { w.extend_time(); }},
      {"extend by a segment",
       [](World& w) {
         demo(w);
         w.wall(seconds{660}, seconds{3'600});
       },
       [](World& w) { w.extend_time(); }},
      {"extend in nodes", demo, [](World& w) { w.extend_nodes(); }},
      {"shrink in time", demo, [](World& w) { w.shrink_time(); }},
      {"shrink in nodes", demo, [](World& w) { w.shrink_nodes(); }},
      {"share", demo,
       [](World& w) {
         w.book().share("demo", {{"daemon"}, {}, {}, {}}, kRoot);
       }},
      {"tag", demo,
       [](World& w) {
         w.book().tag("demo", {{{"project", "llm"}}, {}}, kRoot);
       }},
      {"transfer", demo, [](World& w) { w.book().transfer("demo", "daemon", kRoot); }},
      {"cancel", demo, [](World& w) { w.book().cancel("demo", kRoot, false); }},
      {"cancel with jobs",
       [](World& w) {
         demo(w);
         w.add_job();
       },
       [](World& w) { w.book().cancel("demo", kRoot, true); }},
      {"swap a dead node",
       [](World& w) {
         demo(w);
         w.lose_node();
       },
       nothing},
      {"make a reservation again",
       [](World& w) {
         demo(w);
         w.cluster().reservations_.erase("demo.0");
       },
       nothing},
      {"release an idle plan",
       [](World& w) {
         w.release_idle();
         demo(w);
         nothing(w);
         w.cluster().now += 10;
         nothing(w);
         w.cluster().now += 20;
       },
       nothing},
      {"follow an admin",
       [](World& w) {
         demo(w);
         w.cluster().reservations_.at("demo.0").end += seconds{60};
       },
       nothing},
  };
}

class KillTest : public testing::TestWithParam<Operation> {};

TEST_P(KillTest, NothingIsLostAndNothingIsHalfDone) {
  const auto& operation = GetParam();
  World whole;
  operation.prepare(whole);
  const std::string before = whole.outcome();
  int points = 0;
  {
    const KillAt count(0);
    operation.act(whole);
    points = count.passed();
  }
  whole.settle();
  const std::string after = whole.outcome();
  whole.expect_agreement("not killed");
  ASSERT_GT(points, 0);
  for (int n = 1; n <= points; ++n) {
    for (int m = 0;; ++m) {  // and the next stintd, at its so manyth point
      World world;
      operation.prepare(world);
      std::string when;
      {
        const KillAt kill(n);
        EXPECT_THROW(operation.act(world), FakeCluster::Killed);
        when = kill.at();
      }
      bool settled = m == 0;
      if (m > 0) {
        const KillAt kill(m);
        try {
          world.settle();
          settled = true;
        } catch (const FakeCluster::Killed&) {
          when += ", then at " + kill.at();
        }
      }
      if (m > 0 && settled) break;
      world.settle();
      world.expect_agreement(when);
      EXPECT_TRUE(world.outcome() == before || world.outcome() == after)
          << when << "\nbefore: " << before << "\nafter:  " << after << "\nnow:    " << world.outcome();
      if (HasFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Operations, KillTest, testing::ValuesIn(operations()),
                         [](const testing::TestParamInfo<Operation>& info) {
                           std::string name = info.param.name;
                           std::replace(name.begin(), name.end(), ' ', '_');
                           return name;
                         });

}  // namespace
}  // namespace stint::reservations
