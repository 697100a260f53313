// SPDX-License-Identifier: Apache-2.0
#include "trainer/topology/devices.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include "tests/unit/topology/machines.h"
#include "trainer/topology/assignment.h"

namespace stint::topology {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using testing::XmlMachine;

bool none_set(const char*) {
  return false;
}

std::vector<std::string> nics_of(const Machine& machine, const MachinePlan& plan, std::size_t worker) {
  std::vector<std::string> names;
  for (const std::size_t nic : plan.workers[worker].nics) names.push_back(machine.nics[nic].device);
  return names;
}

TEST(Assignment, IsTheCheapestOfAll) {
  std::mt19937 random(7);
  for (int trial = 0; trial < 300; ++trial) {
    const std::size_t rows = 1 + random() % 5, columns = rows + random() % 3;
    std::vector<std::vector<int>> cost(rows, std::vector<int>(columns));
    for (auto& row : cost)
      for (int& value : row) value = static_cast<int>(random() % 20);
    const auto total = [&](const std::vector<std::size_t>& chosen) {
      int sum = 0;
      for (std::size_t row = 0; row < rows; ++row) sum += cost[row][chosen[row]];
      return sum;
    };
    std::vector<std::size_t> order(columns);
    std::iota(order.begin(), order.end(), std::size_t{0});
    int best = total(order);
    while (std::ranges::next_permutation(order).found) best = std::min(best, total(order));
    auto chosen = assign(cost);
    EXPECT_EQ(total(chosen), best);
    std::ranges::sort(chosen);
    EXPECT_EQ(std::ranges::adjacent_find(chosen), chosen.end());
  }
}

TEST(MachinePlan, GivesEachWorkerOfADgxItsGpuTheCoresMemoryAndNetworkDeviceBesideIt) {
  const Machine machine = testing::dgx();
  const MachinePlan plan = plan_machine(machine, 8, 0);
  EXPECT_EQ(plan.binding.threads, 14);
  const std::vector<std::string> beside{"mlx5_0", "mlx5_1", "mlx5_2", "mlx5_3",
                                        "mlx5_6", "mlx5_7", "mlx5_8", "mlx5_9"};
  for (std::size_t worker = 0; worker < 8; ++worker) {
    EXPECT_EQ(plan.workers[worker].gpu, worker);
    EXPECT_EQ(plan.workers[worker].numa, worker < 4 ? 0 : 1);
    EXPECT_THAT(nics_of(machine, plan, worker), ElementsAre(beside[worker]));
    EXPECT_EQ(plan.binding.cpus[worker].front(), static_cast<int>(worker) * 14);
    EXPECT_EQ(plan.binding.memory[worker], mask_of({worker < 4 ? 0 : 1}));
  }
  EXPECT_THAT(plan.notes, IsEmpty());
}

TEST(MachinePlan, TellsEachWorkerInTheLanguageOfCudaUcxAndNccl) {
  const Machine machine = testing::dgx();
  const MachinePlan plan = plan_machine(machine, 8, 0);
  EXPECT_THAT(device_environment(machine, plan, 5, none_set),
              ElementsAre(Pair("CUDA_DEVICE_ORDER", "PCI_BUS_ID"), Pair("CUDA_VISIBLE_DEVICES", "5"),
                          Pair("UCX_NET_DEVICES", "mlx5_7:1"),
                          Pair("NCCL_IB_HCA",
                               "=mlx5_0:1,mlx5_1:1,mlx5_2:1,mlx5_3:1,mlx5_6:1,mlx5_7:1,"
                               "mlx5_8:1,mlx5_9:1")));
  EXPECT_THAT(device_environment(machine, plan, 5, [](const char*) { return true; }),
              ElementsAre(Pair("CUDA_DEVICE_ORDER", "PCI_BUS_ID"), Pair("CUDA_VISIBLE_DEVICES", "5")));
}

TEST(MachinePlan, AGpuWhoseNetworkDeviceIsDownTakesTheOneForStorageAndItSaysSo) {
  const Machine machine = testing::dgx(2);
  const MachinePlan plan = plan_machine(machine, 8, 0);
  EXPECT_THAT(nics_of(machine, plan, 2), ElementsAre("mlx5_4"));  // on its NUMA node
  EXPECT_THAT(nics_of(machine, plan, 3), ElementsAre("mlx5_3"));
  EXPECT_THAT(plan.notes, ElementsAre(HasSubstr("mlx5_2 (0000:")));
}

TEST(MachinePlan, WithFewerWorkersThanGpusSpreadsThemAndSaysThatSomeAreIdle) {
  const Machine machine = testing::dgx();
  const MachinePlan plan = plan_machine(machine, 2, 8);
  EXPECT_EQ(plan.workers[0].gpu, 0U);
  EXPECT_EQ(plan.workers[1].gpu, 4U);
  EXPECT_THAT(nics_of(machine, plan, 1), ElementsAre("mlx5_6"));
  EXPECT_THAT(plan.notes, ElementsAre(HasSubstr("leave 6 of 8 GPUs idle")));
}

TEST(MachinePlan, WithMoreWorkersThanGpusGivesNoneAndSaysSo) {
  const Machine machine = testing::dgx();
  const MachinePlan plan = plan_machine(machine, 16, 0);
  EXPECT_FALSE(plan.workers[0].gpu);
  EXPECT_THAT(plan.notes, Contains(HasSubstr("8 GPUs for 16 workers")));
  std::map<std::size_t, int> uses;
  for (const auto& worker : plan.workers) ++uses[worker.nics.at(0)];
  EXPECT_EQ(uses.size(), 10U);
  for (const auto& [nic, count] : uses) EXPECT_LE(count, 2);
}

TEST(MachinePlan, GivesEachWorkerOfATrayADeviceOfItsProcessor) {
  const Machine machine = testing::gb200_tray();
  const MachinePlan plan = plan_machine(machine, 4, 0);
  EXPECT_EQ(plan.binding.threads, 36);
  std::map<std::size_t, int> uses;
  for (std::size_t worker = 0; worker < 4; ++worker) {
    ASSERT_EQ(plan.workers[worker].nics.size(), 1U);
    const std::size_t nic = plan.workers[worker].nics[0];
    EXPECT_EQ(++uses[nic], 1);
    EXPECT_EQ(machine.nics[nic].place.numa, machine.gpus[*plan.workers[worker].gpu].place.numa);
  }
}

TEST(MachinePlan, AnOddBoxOfThreePackagesSharesItsTwoDevicesEvenly) {
  XmlMachine box(3, 5, "Odd");
  box.package(2).open_host_bridge().rdma("hfi1_0", "").close();
  box.package(0).open_host_bridge().rdma("hfi1_1", "").ethernet("eth0").close();
  const Machine machine = testing::read_xml(box.text());
  const MachinePlan plan = plan_machine(machine, 3, 0);
  EXPECT_EQ(plan.binding.threads, 5);
  EXPECT_THAT(nics_of(machine, plan, 0), ElementsAre("hfi1_1"));
  EXPECT_THAT(nics_of(machine, plan, 2), ElementsAre("hfi1_0"));
  EXPECT_EQ(plan.workers[1].nics.size(), 1U);
  EXPECT_EQ(plan.workers[1].numa, 1);
}

TEST(MachinePlan, AnEthernetDeviceIsShownButLeftToTheRoutingTable) {
  XmlMachine box(1, 4, "Plain");
  box.package(0).open_host_bridge().ethernet("eth0").close();
  const Machine machine = testing::read_xml(box.text());
  const MachinePlan plan = plan_machine(machine, 2, 0);
  EXPECT_THAT(nics_of(machine, plan, 1), ElementsAre("eth0"));
  EXPECT_THAT(device_environment(machine, plan, 1, none_set), IsEmpty());
  EXPECT_THAT(plan.binding.memory, IsEmpty());  // one NUMA node: nothing to choose
}

TEST(MachinePlan, AWorkerWithTwoDevicesBesideItHasBoth) {
  XmlMachine box(2, 4, "Two rails");
  for (int package = 0; package < 2; ++package)
    box.package(package)
        .open_host_bridge()
        .rdma(fmt::format("mlx5_{}", 2 * package), "")
        .rdma(fmt::format("mlx5_{}", 2 * package + 1), "")
        .close();
  const Machine machine = testing::read_xml(box.text());
  const MachinePlan plan = plan_machine(machine, 2, 0);
  EXPECT_THAT(nics_of(machine, plan, 1), ElementsAre("mlx5_2", "mlx5_3"));
  EXPECT_THAT(device_environment(machine, plan, 0, none_set),
              Contains(Pair("UCX_NET_DEVICES", "mlx5_0:1,mlx5_1:1")));
}

TEST(MachinePlan, NodesOnOneHostShareItsGpus) {
  const Machine machine = testing::dgx();
  EXPECT_EQ(plan_machine(machine, 4, 0, {0, 2}).workers[3].gpu, 3U);
  EXPECT_EQ(plan_machine(machine, 4, 0, {1, 2}).workers[0].gpu, 4U);
}

TEST(MachinePlan, GpusWithoutCoresOnTheirNumaNodeStillHaveWorkersAndItSaysSo) {
  Machine machine = testing::dgx();
  std::erase_if(machine.cores, [](const Core& core) { return core.numa == 1; });
  const MachinePlan plan = plan_machine(machine, 8, 0);
  EXPECT_EQ(plan.binding.threads, 7);
  EXPECT_THAT(plan.notes, Contains(HasSubstr("the GPUs' NUMA nodes have too few cores")));
}

}  // namespace
}  // namespace stint::topology
