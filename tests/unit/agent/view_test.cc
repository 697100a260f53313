// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/final_error.h"
#include "trainer/agent/placement.h"
#include "trainer/agent/view.h"

namespace stint::agent {
namespace {

using testing::ElementsAre;

TEST(View, RanksFollowTheRingThenTheWorkersOfANode) {
  const View view = make_view(3, {2, 0, 1}, {{"a0", "a1"}, {"b0", "b1"}, {"c0", "c1"}});
  EXPECT_THAT(view.addresses, ElementsAre("c0", "c1", "a0", "a1", "b0", "b1"));
  EXPECT_EQ(view.ranks.rank_of({0, 1}), 3);
  const auto message = view.message_for(3);
  EXPECT_EQ(message["type"], "view");
  EXPECT_EQ(message["epoch"], 3);
  EXPECT_EQ(message["rank"], 3);
  EXPECT_EQ(message["size"], 6);
  EXPECT_EQ(message["addresses"].size(), 6U);
  EXPECT_EQ(message["nodes"], (nlohmann::json{2, 2, 0, 0, 1, 1}));
}

TEST(View, RefusesAnOrderThatForgetsANode) {
  EXPECT_THROW(make_view(1, {0, 0}, {{"a"}, {"b"}}), Error);
  EXPECT_THROW(make_view(1, {0}, {{"a"}, {"b"}}), Error);
  EXPECT_THROW(make_view(1, {0, 1}, {{"a"}, {}}), Error);
}

TEST(Placement, RingFollowsTheSwitchesAndAgentsOfOneHostShareItsCores) {
  std::vector<Identity> nodes(4);
  const char* addresses[] = {"s.leaf2.n1", "s.leaf1.n2", "s.leaf2.n3", "s.leaf1.n4"};
  for (std::size_t i = 0; i < 4; ++i) {
    nodes[i].node = "n" + std::to_string(i + 1);
    nodes[i].host = i < 2 ? "x" : "y";
    nodes[i].topology = addresses[i];
  }
  topology::Machine machine;
  machine.cores = {{0, {0}}, {0, {1}}};
  recipes::Recipe recipe;
  recipe.resources.workers_per_node = 1;
  const Layout layout = lay_out(nodes, {});
  const Placement first = place(nodes, 2, machine, recipe, layout);
  const Placement second = place(nodes, 3, machine, recipe, layout);
  EXPECT_THAT(layout.order, ElementsAre(1, 3, 0, 2));
  EXPECT_THAT(layout.buddies, ElementsAre(1, 0, 3, 2));
  EXPECT_EQ(layout.source, Layout::Source::kSlurm);
  EXPECT_THAT(first.machine.binding.cpus, ElementsAre(ElementsAre(0)));
  EXPECT_THAT(second.machine.binding.cpus, ElementsAre(ElementsAre(1)));
}

TEST(Placement, WorkersUseTheirGpusWhereTheRecipeDoesNotSayOtherwise) {
  topology::Machine machine;
  machine.cores = {{0, {0}}, {0, {1}}};
  machine.gpus.resize(2);
  const auto plan = [&](int workers) { return topology::plan_machine(machine, workers, 1); };
  recipes::Recipe recipe;
  const auto uses = [&](const char* device, int workers) {
    recipe.resources.device = device;
    return uses_gpus(recipe, machine, plan(workers));
  };
  EXPECT_TRUE(uses("auto", 2));
  EXPECT_TRUE(uses("gpu", 1));
  EXPECT_FALSE(uses("cpu", 2));
  EXPECT_FALSE(uses("auto", 3));
  EXPECT_THAT(
      [&] { uses("gpu", 3); },
      testing::ThrowsMessage<FinalError>(testing::HasSubstr(
          "resources.device = gpu: this node has 2 GPUs for 3 workers; take fewer workers_per_node")));
  machine.gpus.clear();
  EXPECT_FALSE(uses("auto", 1));
  EXPECT_THAT([&] { uses("gpu", 1); },
              testing::ThrowsMessage<FinalError>(
                  testing::HasSubstr("this node has 0 GPUs for 1 worker; ask for them with resources.gres")));
}

}  // namespace
}  // namespace stint::agent
