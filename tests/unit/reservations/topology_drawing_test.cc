// SPDX-License-Identifier: Apache-2.0
#include "reservations/topology_drawing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace stint::reservations {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

json worker(int rank, const char* cpus) {
  return {{"rank", rank},
          {"cpus", cpus},
          {"numa", 0},
          {"gpu", {{"index", rank % 2}, {"model", "H100"}, {"address", "0000:1b:00.0"}, {"uuid", "GPU-x"}}},
          {"nics", {{{"device", "mlx5_0:1"}, {"interface", "ib0"}, {"meets_gpu_at", "same PCI switch"}}}}};
}

json node(const char* name, const char* leaf, const char* buddy, int first_rank) {
  return {{"name", name},
          {"cpu", "Fast CPU"},
          {"domains", {"spine", leaf}},
          {"buddy", buddy},
          {"buddy_apart", true},
          {"notes", json::array()},
          {"workers", {worker(first_rank, "0-13"), worker(first_rank + 1, "14-27")}}};
}

json record() {
  return {
      {"version", 1},
      {"recipe", "small"},
      {"job", "42"},
      {"restart", 1},
      {"attempt", 0},
      {"world", 6},
      {"source", "slurm"},
      {"ring",
       {{"order", {"n1", "n3", "n2"}}, {"crossings", 2}, {"fewest_crossings", 2}, {"crossings_by_name", 3}}},
      {"exposed_buddies", 0},
      {"shards", {{"degree", 2}, {"groups", 3}}},
      {"notes", {"two\nlines"}},
      {"nodes", {node("n1", "leaf1", "n2", 0), node("n3", "leaf1", "n2", 2), node("n2", "leaf2", "n1", 4)}}};
}

TEST(TopologyDrawing, ShowsSwitchesNodesAndWorkersAndWhyTheyStandSo) {
  EXPECT_EQ(
      draw_topology(record()),
      "small, job 42, start 2: 3 nodes, 6 workers\n"
      "order from: the switches that Slurm names (topology.conf)\n"
      "ring: n1 > n3 > n2 > back\n"
      "      2 steps from one leaf switch to another, the fewest possible; in the order of names it would be "
      "3\n"
      "shards: 3 groups of 2 neighbouring ranks\n"
      "buddies: each node's stands in another failure domain\n"
      "\n"
      "spine\n"
      "  leaf1\n"
      "    n1  Fast CPU  buddy n2\n"
      "      rank 0  processors 0-13  NUMA 0  GPU 0 H100 0000:1b:00.0  mlx5_0:1 (ib0), same PCI switch\n"
      "      rank 1  processors 14-27  NUMA 0  GPU 1 H100 0000:1b:00.0  mlx5_0:1 (ib0), same PCI switch\n"
      "    n3  Fast CPU  buddy n2\n"
      "      ranks 2 to 3: as n1\n"
      "  leaf2\n"
      "    n2  Fast CPU  buddy n1\n"
      "      rank 4  processors 0-13  NUMA 0  GPU 0 H100 0000:1b:00.0  mlx5_0:1 (ib0), same PCI switch\n"
      "      rank 5  processors 14-27  NUMA 0  GPU 1 H100 0000:1b:00.0  mlx5_0:1 (ib0), same PCI switch\n"
      "\n"
      "note: two lines\n");
}

TEST(TopologyDrawing, WithoutSwitchesSaysWhereTheOrderComesFrom) {
  json plain = record();
  plain["source"] = "names";
  plain["exposed_buddies"] = 3;
  for (json& each : plain["nodes"]) {
    each["domains"] = json();
    each["buddy_apart"] = false;
  }
  const std::string text = draw_topology(plain);
  EXPECT_THAT(text, HasSubstr("order from: the nodes' names: nothing is known of the switches"));
  EXPECT_THAT(text, Not(HasSubstr("leaf switch to another")));
  EXPECT_THAT(text, HasSubstr("of 3 nodes 3 have theirs in their own failure domain"));
  EXPECT_THAT(text, HasSubstr("\nn1  Fast CPU  buddy n2 (same failure domain)\n  rank 0"));
}

TEST(TopologyDrawing, ARecordThatIsNoneIsRefusedAndAPoorOneIsDrawnAsFarAsItGoes) {
  EXPECT_THROW(draw_topology(json()), Error);
  EXPECT_THROW(draw_topology(json::array()), Error);
  EXPECT_THROW(draw_topology({{"nodes", "n1"}}), Error);
  EXPECT_THAT(
      draw_topology({{"nodes", {1, {{"name", "n1"}, {"workers", {1, "x"}}}}}, {"ring", 7}, {"shards", 0}}),
      HasSubstr("n1"));
}

TEST(TopologyDrawing, ALongRingIsCutShort) {
  json wide = record();
  for (int i = 0; i < 30; ++i) wide["ring"]["order"].push_back("m" + std::to_string(i));
  EXPECT_THAT(draw_topology(wide), HasSubstr("m12 > 17 more > back"));
}

}  // namespace
}  // namespace stint::reservations
