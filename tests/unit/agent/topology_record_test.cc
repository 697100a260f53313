// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/topology_record.h"

#include <gmock/gmock.h>
#include <poll.h>

#include "base/error.h"
#include "tests/unit/topology/machines.h"
#include "trainer/agent/pair_probe.h"

namespace stint::agent {
namespace {

using nlohmann::json;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<Identity> four_nodes(bool on_switches) {
  std::vector<Identity> nodes(4);
  for (std::size_t i = 0; i < 4; ++i) {
    nodes[i].node = "n" + std::to_string(i + 1);
    nodes[i].host = "h" + std::to_string(i + 1);
    nodes[i].cpu_model = "A";
    nodes[i].topology = nodes[i].node;
    if (on_switches) nodes[i].topology = (i % 2 == 0 ? "s.leaf1." : "s.leaf2.") + nodes[i].node;
    nodes[i].topology_pattern = on_switches ? "switch.switch.node" : "node";
  }
  return nodes;
}

TEST(Layout, IsMeasuredWhereSlurmNamesNoSwitchesAndThereIsAChoice) {
  recipes::Recipe recipe;
  recipe.topology.measure = "auto";
  EXPECT_TRUE(wants_measuring(four_nodes(false), recipe));
  EXPECT_FALSE(wants_measuring(four_nodes(true), recipe));
  auto nodes = four_nodes(false);
  nodes[3].host = "h1";
  EXPECT_FALSE(wants_measuring(nodes, recipe));
  recipe.topology.measure = "yes";
  EXPECT_TRUE(wants_measuring(four_nodes(true), recipe));
  recipe.topology.measure = "no";
  EXPECT_FALSE(wants_measuring(four_nodes(false), recipe));
}

TEST(Layout, FollowsWhatWasMeasured) {
  const auto nodes = four_nodes(false);
  const topology::RoundTrips times{{0, 50, 20, 51}, {50, 0, 52, 21}, {20, 52, 0, 50}, {51, 21, 50, 0}};
  const Layout layout = lay_out(nodes, times);
  EXPECT_EQ(layout.source, Layout::Source::kMeasured);
  EXPECT_THAT(layout.order, ElementsAre(0, 2, 1, 3));
  EXPECT_THAT(layout.buddies, ElementsAre(1, 0, 3, 2));
  EXPECT_THAT(layout.notes, ElementsAre(HasSubstr("show 2 groups")));
}

TEST(Layout, WithoutSwitchesIsByNameAndSaysHowToDoBetter) {
  const Layout layout = lay_out(four_nodes(false), {});
  EXPECT_EQ(layout.source, Layout::Source::kNames);
  EXPECT_THAT(layout.notes, ElementsAre(HasSubstr("topology.measure = yes")));
}

TEST(Layout, OfOneNodeNeedsNoExplanation) {
  EXPECT_THAT(lay_out({four_nodes(false)[0]}, {}).notes, IsEmpty());
}

TEST(Layout, NamesTheNodesOfEachKindOfProcessor) {
  auto nodes = four_nodes(true);
  nodes[2].cpu_model = "B";
  EXPECT_THAT(lay_out(nodes, {}).notes,
              ElementsAre(HasSubstr("2 kinds of processor (A on n1, n2, n4; B on n3)")));
  EXPECT_THAT(lay_out(nodes, {}).notes[0], HasSubstr("--constraint"));
}

json record_of(const std::vector<Identity>& nodes, const topology::Machine& machine) {
  const Layout layout = lay_out(nodes, {});
  const topology::RankTable ranks(layout.order, std::vector<int>(4, 2));
  const auto plan = topology::plan_machine(machine, 2, 0);
  return topology_record(
      {{{"job", "7"}}, nodes, layout, ranks, 4, std::vector<json>(4, describe(machine, plan)), {}});
}

topology::Machine two_numa_nodes() {
  topology::Machine machine;
  for (int core = 0; core < 4; ++core) machine.cores.push_back({core / 2, {core, core + 4}});
  machine.numa_nodes = machine.packages = {0, 1};
  machine.nics = {{"mlx5_0", "ib0", "0000:01:00.0", {{0}, 0, 0}, true, {1}},
                  {"mlx5_1", "ib1", "0000:81:00.0", {{1}, 1, 1}, true, {1}}};
  return machine;
}

TEST(TopologyRecord, HoldsWhatWasChosen) {
  const json record = record_of(four_nodes(true), two_numa_nodes());
  EXPECT_EQ(record["job"], "7");
  EXPECT_EQ(record["source"], "slurm");
  EXPECT_EQ(record["ring"]["order"], json({"n1", "n3", "n2", "n4"}));
  EXPECT_EQ(record["ring"]["crossings"], 2);
  EXPECT_EQ(record["ring"]["fewest_crossings"], 2);
  EXPECT_EQ(record["ring"]["crossings_by_name"], 4);
  EXPECT_EQ(record["exposed_buddies"], 0);
  const json& second = record["nodes"][1];
  EXPECT_EQ(second["name"], "n3");
  EXPECT_EQ(second["domains"], json({"s", "leaf1"}));
  EXPECT_EQ(second["buddy"], "n4");
  EXPECT_EQ(second["workers"][1]["rank"], 3);
  EXPECT_EQ(second["workers"][1]["cpus"], "2-3,6-7");
  EXPECT_EQ(second["workers"][1]["numa"], 1);
  EXPECT_EQ(second["workers"][1]["nics"][0]["device"], "mlx5_1:1");
  EXPECT_EQ(second["workers"][1]["nics"][0]["beside_cores"], true);
  EXPECT_THAT(record["notes"].dump(), HasSubstr("shard groups reach beyond"));
}

TEST(TopologyRecord, NamesNetworkDevicesThatVanished) {
  const json last = record_of(four_nodes(true), two_numa_nodes());
  EXPECT_THAT(missing_devices(last, last), IsEmpty());
  EXPECT_THAT(missing_devices(last, json()), IsEmpty());
  json now = last;
  now["nodes"][2]["nics"] = {"mlx5_0"};
  EXPECT_THAT(missing_devices(now, last),
              ElementsAre(HasSubstr("n2: mlx5_1 had a link at the run's last start")));
  EXPECT_THAT(missing_devices(now, json()),
              ElementsAre(HasSubstr("n2: mlx5_1 has a link on most other nodes")));
  EXPECT_THAT(missing_devices(now, now), ElementsAre(HasSubstr("on most other nodes")));
}

TEST(TopologyRecord, SaysWhereGpuAndNetworkDeviceMeet) {
  const topology::Machine machine = topology::testing::dgx();
  const json described = describe(machine, topology::plan_machine(machine, 8, 0));
  EXPECT_EQ(described["gpus"], 8);
  EXPECT_EQ(described["nics"].size(), 10U);
  const json& last = described["workers"][7];
  EXPECT_EQ(last["gpu"]["model"], "H100");
  EXPECT_EQ(last["cpus"], "98-111");
  EXPECT_EQ(last["nics"][0]["device"], "mlx5_9:1");
  EXPECT_EQ(last["nics"][0]["meets_gpu_at"], "same PCI switch");
}

TEST(Layout, KeepsShardsInTheNvlinkDomainsOfTwoRacksAndBuddiesInTheOther) {
  std::vector<Identity> trays(36);
  for (std::size_t i = 0; i < trays.size(); ++i) {
    const std::string block = i % 2 == 0 ? "b1" : "b2";  // Slurm deals them out in turn
    trays[i].node = "tray" + std::to_string(i);
    trays[i].topology = block + "." + trays[i].node;
    trays[i].topology_pattern = "block.node";
    trays[i].nvlink_domain = block + "-clique.0";
    trays[i].cpu_model = "Grace";
  }
  const Layout layout = lay_out(trays, {});
  const topology::RankTable ranks(layout.order, std::vector<int>(36, 4));
  EXPECT_THAT(layout.notes, IsEmpty());
  const json record = topology_record({json::object(), trays, layout, ranks, 72, std::vector<json>(36), {}});
  EXPECT_EQ(record["ring"]["crossings"], 2);
  EXPECT_EQ(record["shards"]["groups"], 2);
  EXPECT_EQ(record["exposed_buddies"], 0);
  EXPECT_THAT(record["notes"], IsEmpty());
}

TEST(PairProbe, TimesMessagesToEveryOtherNodeAndLeavesOutTheSilent) {
  PairProbe a, b;
  std::vector<Identity> all(3);
  for (std::size_t i = 0; i < 3; ++i) {
    all[i].host = "x";
    all[i].nonce = i + 100;
  }
  all[0].probe_port = a.port();
  all[1].probe_port = b.port();
  all[2].probe_port = 1;  // nobody answers there
  const auto began = PairProbe::Clock::now();
  a.begin(all, 0, {0, 1, 2}, began);
  b.begin(all, 1, {0, 1, 2}, began);
  while (!(a.done() && b.done()) && PairProbe::Clock::now() - began < std::chrono::seconds(10)) {
    pollfd waiting[] = {{a.descriptor(), POLLIN, 0}, {b.descriptor(), POLLIN, 0}};
    poll(waiting, 2, 1);
    a.turn(PairProbe::Clock::now());
    b.turn(PairProbe::Clock::now());
  }
  ASSERT_TRUE(a.done() && b.done());
  EXPECT_GT(a.round_trips()[1], 0);
  EXPECT_LT(a.round_trips()[1], 1e6);
  EXPECT_GT(b.round_trips()[0], 0);
  EXPECT_EQ(a.round_trips()[0], 0);
  EXPECT_EQ(a.round_trips()[2], 0);
}

TEST(PairProbe, DoesNotAnswerWhoDoesNotKnowItsNonce) {
  PairProbe a, b;
  std::vector<Identity> all(2), wrong(2);
  for (auto* view : {&all, &wrong})
    for (std::size_t i = 0; i < 2; ++i) (*view)[i].host = "x";
  for (auto* view : {&all, &wrong}) {
    (*view)[0].probe_port = a.port();
    (*view)[1].probe_port = b.port();
  }
  all[1].nonce = 5;
  wrong[1].nonce = 6;
  const auto began = PairProbe::Clock::now();
  a.begin(wrong, 0, {1}, began);
  b.begin(all, 1, {}, began);
  while (!a.done() && PairProbe::Clock::now() - began < std::chrono::seconds(10)) {
    a.turn(PairProbe::Clock::now());
    b.turn(PairProbe::Clock::now());
  }
  EXPECT_EQ(a.round_trips()[1], 0);
}

TEST(NetDevices, ANameThatIsNotThereIsRefusedWithWhatThereIs) {
  const std::set<std::string> present{"eth0", "mlx5_0"};
  EXPECT_EQ(topology::net_device_problem("mlx5_0:1,eth0", present), std::nullopt);
  EXPECT_EQ(topology::net_device_problem("all", present), std::nullopt);
  EXPECT_EQ(topology::net_device_problem("^mlx5_9", present), std::nullopt);
  EXPECT_THAT(*topology::net_device_problem("mlx5_0:1,mlx5_9:1", present),
              HasSubstr("names mlx5_9:1, which this node does not have (it has eth0, mlx5_0)"));
}

}  // namespace
}  // namespace stint::agent
