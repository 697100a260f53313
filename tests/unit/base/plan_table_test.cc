// SPDX-License-Identifier: Apache-2.0
#include "base/plan_table.h"

#include <gmock/gmock.h>

#include <random>

#include "base/error.h"
#include "base/text.h"
#include "tests/unit/base/temporary.h"

namespace stint {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::HasSubstr;

sys_seconds at(std::int64_t count) {
  return sys_seconds(seconds(count));
}

PlanRow demo() {
  return {"demo",
          "active",
          {"alice", "bob"},
          {1000, 4294967294U},
          "main",
          4,
          1,
          {{"demo.0", at(1000), at(2000), "node[1-5]"}, {"demo.1", at(3000), at(4000), "node[2-6]"}}};
}

void expect_equal(const PlanRow& a, const PlanRow& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.state, b.state);
  EXPECT_EQ(a.users, b.users);
  EXPECT_EQ(a.uids, b.uids);
  EXPECT_EQ(a.partition, b.partition);
  EXPECT_EQ(a.nodes, b.nodes);
  EXPECT_EQ(a.spares, b.spares);
  ASSERT_EQ(a.segments.size(), b.segments.size());
  for (std::size_t i = 0; i < a.segments.size(); ++i) {
    EXPECT_EQ(a.segments[i].reservation, b.segments[i].reservation);
    EXPECT_EQ(a.segments[i].start, b.segments[i].start);
    EXPECT_EQ(a.segments[i].end, b.segments[i].end);
    EXPECT_EQ(a.segments[i].nodes, b.segments[i].nodes);
  }
}

TEST(PlanTable, ComesBackAsWritten) {
  PlanTable table;
  table.plans = {demo()};
  table.plans.push_back({std::string(kMaxNameLength, 'p'), "scheduled", {}, {}, "", 1, 0, {}});
  table.plans.back().segments = {{table.plans.back().name + ".9999", at(1), at(2), "n"}};
  table.written = at(1795444444);
  const PlanTable back = PlanTable::parse(table.format(), "t");
  EXPECT_EQ(back.written, table.written);
  ASSERT_EQ(back.plans.size(), 2U);
  expect_equal(back.plans[0], table.plans[0]);
  expect_equal(back.plans[1], table.plans[1]);
  EXPECT_EQ(back.find("demo")->nodes, 4);
  EXPECT_EQ(back.find("dem"), nullptr);
}

TEST(PlanTable, LongNodeListsComeBack) {
  std::string nodes;
  for (int i = 0; i < 1000; ++i) nodes += (i ? ",gpu" : "gpu") + std::to_string(3 * i);
  PlanTable table;
  table.plans = {demo()};
  table.plans[0].segments[0].nodes = nodes;
  EXPECT_EQ(PlanTable::parse(table.format(), "t").plans[0].segments[0].nodes, nodes);
}

TEST(PlanTable, EmptyTableIsATable) {
  EXPECT_TRUE(PlanTable::parse(PlanTable().format(), "t").plans.empty());
  EXPECT_EQ(error_of([] { PlanTable::parse("", "t"); }), "t: [table] lacks 'written'");
}

TEST(PlanTable, OnlyItsUidsMaySubmit) {
  EXPECT_TRUE(demo().may_submit(1000));
  EXPECT_TRUE(demo().may_submit(4294967294U));
  EXPECT_FALSE(demo().may_submit(0));
  EXPECT_FALSE(demo().may_submit(1001));
}

TEST(PlanTable, SegmentIsTheCurrentElseTheNext) {
  const PlanRow plan = demo();
  EXPECT_EQ(plan.segment_at(at(0))->reservation, "demo.0");
  EXPECT_EQ(plan.segment_at(at(1999))->reservation, "demo.0");
  EXPECT_EQ(plan.segment_at(at(2000))->reservation, "demo.1");
  EXPECT_EQ(plan.segment_at(at(3999))->reservation, "demo.1");
  EXPECT_EQ(plan.segment_at(at(4000)), nullptr);
}

TEST(PlanTable, GpusOfAPlanMayBeUnknown) {
  PlanTable table;
  table.plans = {demo()};
  EXPECT_EQ(PlanTable::parse(table.format(), "t").plans[0].gpus, std::nullopt);
  EXPECT_EQ(PlanTable::parse(table.format(), "t").plans[0].max_time, std::nullopt);
  table.plans[0].max_time = std::chrono::minutes{90};
  EXPECT_EQ(PlanTable::parse(table.format(), "t").plans[0].max_time, std::chrono::minutes{90});
  EXPECT_FALSE(PlanTable::parse(table.format(), "t").plans[0].segments[0].released);
  table.plans[0].segments[0].released = true;
  EXPECT_TRUE(PlanTable::parse(table.format(), "t").plans[0].segments[0].released);
  for (const int gpus : {0, 8}) {
    table.plans[0].gpus = gpus;
    EXPECT_EQ(PlanTable::parse(table.format(), "t").plans[0].gpus, gpus);
  }
}

TEST(PlanTable, WhatBoundsTheTimeOfJobsComesBack) {
  using std::chrono::minutes;
  PlanTable table;
  table.plans = {demo()};
  table.plans[0].partition_qos = "big";
  table.limits.qos = {{"short", minutes{30}, true, false}, {"free", {}, false, true}};
  table.limits.associations = {{1000, "physics", "", true, "short", minutes{60}},
                               {1000, "physics", "main", false, "", {}}};
  const PlanTable back = PlanTable::parse(table.format(), "t");
  EXPECT_EQ(back.plans[0].partition_qos, "big");
  ASSERT_EQ(back.limits.qos.size(), 2U);
  EXPECT_EQ(back.limits.qos[0].max_wall, minutes{30});
  EXPECT_TRUE(back.limits.qos[0].over_partition_qos);
  EXPECT_TRUE(back.limits.qos[1].over_max_time);
  ASSERT_EQ(back.limits.associations.size(), 2U);
  EXPECT_EQ(back.limits.associations[0].max_wall, minutes{60});
  EXPECT_EQ(back.limits.associations[1].partition, "main");
  EXPECT_EQ(error_of([&] { PlanTable::parse("[table]\nwritten = 1\n[qos 1]\nname = a\n", "t"); }),
            "t: [qos 1]: stands where [qos 0] should");
  EXPECT_EQ(error_of([&] { PlanTable::parse("[table]\nwritten = 1\n[association 0]\nuid = 1\n", "t"); }),
            "t: [association 0] lacks 'account'");
}

std::string damaged(const std::string& from, const std::string& to) {
  PlanTable table;
  table.plans = {demo()};
  std::string text = table.format();
  text.replace(text.find(from), from.size(), to);
  return error_of([&] { PlanTable::parse(text, "t"); });
}

TEST(PlanTable, DamageIsNamedWithItsLine) {
  EXPECT_EQ(damaged("nodes = 4", "nodes = 0"),
            "t:8: 'nodes': 0 is out of range; it lies between 1 and 65536");
  EXPECT_EQ(damaged("uids = 1000", "uids = root"), "t:6: 'uids': 'root' is no whole number");
  EXPECT_EQ(damaged("uids = 1000", "uids = ,1000"), "t:6: 'uids': '' is no whole number");
  EXPECT_EQ(damaged("state = active", "state = actve"), "t:4: 'state': 'actve' is no plan state");
  EXPECT_EQ(damaged("spares = 1\n", ""), "t: [plan demo] lacks 'spares'");
  EXPECT_EQ(damaged("end = 2000", "end = 1000"), "t: [segment demo.0] ends before it starts");
  EXPECT_EQ(damaged("[plan demo]", "[plan dem]"), "t: [segment demo.0]: no [plan demo] before it");
  EXPECT_EQ(damaged("[plan demo]", "[plan de/mo]"), "t: 'de/mo' is no plan name");
  EXPECT_EQ(damaged("[plan demo]", "[plans demo]"), "t: unknown section [plans demo]");
  EXPECT_EQ(damaged("spares = 1", "spares = 1\nowner = x"),
            "t:10: 'owner': unknown key 'owner' in [plan demo]");
  EXPECT_EQ(damaged("spares = 1", "spares = 1\ngpus = all"), "t:10: 'gpus': 'all' is no whole number");
  EXPECT_EQ(damaged("start = 1000", "start = -1"),
            "t:11: 'start': -1 is out of range; it lies between 0 and 253402300799");
}

// A table that was cut or changed at random is refused or read; nothing else may happen.
TEST(PlanTable, RandomDamageNeverCrashes) {
  PlanTable table;
  table.plans = {demo()};
  const std::string good = table.format();
  std::mt19937 random(5);
  for (int round = 0; round < 5000; ++round) {
    std::string text = good.substr(0, random() % (good.size() + 1));
    for (int i = 0; i < 3 && !text.empty(); ++i)
      text[random() % text.size()] = static_cast<char>(random() % 256);
    try {
      for (const PlanRow& plan : PlanTable::parse(text, "t").plans) {
        EXPECT_TRUE(valid_name(plan.name));
        EXPECT_GE(plan.nodes, 1);
      }
    } catch (const Error& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with("t:")) << error.what();
    }
  }
}

TEST(PlanTable, WhatCouldNotBeReadBackIsNotWritten) {
  PlanTable table;
  table.plans = {demo()};
  table.plans[0].partition = "main\n[plan other]";
  EXPECT_THAT(error_of([&] { table.format(); }), HasSubstr("control byte"));
  table.plans[0] = demo();
  table.plans[0].name = "de mo";
  EXPECT_EQ(error_of([&] { table.format(); }), "'de mo' is no plan name");
}

}  // namespace
}  // namespace stint
