// SPDX-License-Identifier: Apache-2.0
#include "trainer/topology/machine.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include "tests/unit/topology/machines.h"

namespace stint::topology {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::XmlMachine;

TEST(Machine, ShowsTheGpusAndNetworkDevicesOfADgx) {
  const Machine machine = testing::dgx();
  EXPECT_TRUE(machine.captured);
  EXPECT_EQ(machine.cpu_model, "Intel(R) Xeon(R) Platinum 8480C");
  EXPECT_EQ(machine.cores.size(), 112U);
  EXPECT_THAT(machine.numa_nodes, ElementsAre(0, 1));
  EXPECT_THAT(machine.packages, ElementsAre(0, 1));
  ASSERT_EQ(machine.gpus.size(), 8U);
  EXPECT_EQ(machine.gpus[0].model, "H100");
  EXPECT_EQ(machine.gpus[3].place.numa, 0);
  EXPECT_EQ(machine.gpus[4].place.numa, 1);
  EXPECT_EQ(machine.gpus[4].place.bridges.size(), 3U);
  EXPECT_EQ(machine.gpus[4].index, 4);
  ASSERT_EQ(machine.nics.size(), 11U);
  EXPECT_EQ(machine.nics[0].device, "mlx5_0");
  EXPECT_EQ(machine.nics[0].interface, "ib0");
  EXPECT_TRUE(machine.nics[0].rdma);
  EXPECT_THAT(machine.nics[0].ports, ElementsAre(1));
  EXPECT_EQ(machine.nics.back().device, "eno1");
  EXPECT_FALSE(machine.nics.back().rdma);
}

TEST(Machine, ADeviceWhosePortsHaveNoLinkHasNone) {
  const Machine machine = testing::dgx(2);
  EXPECT_THAT(machine.nics[2].ports, IsEmpty());
}

TEST(Machine, SaysWhereTwoDevicesMeet) {
  const PciPlace gpu{{0, 1, 2}, 0, 0};
  EXPECT_EQ(meeting_of(gpu, {{0, 1, 3}, 0, 0}), Meeting::kPciSwitch);
  EXPECT_EQ(meeting_of(gpu, {{0, 4}, 0, 0}), Meeting::kHostBridge);
  EXPECT_EQ(meeting_of(gpu, {{5}, 0, 0}), Meeting::kNumaNode);
  EXPECT_EQ(meeting_of(gpu, {{5}, 1, 0}), Meeting::kPackage);
  EXPECT_EQ(meeting_of(gpu, {{5}, 2, 1}), Meeting::kMachine);
  EXPECT_EQ(meeting_of({}, {}), Meeting::kMachine);
}

TEST(GpuDriver, SaysWhichGpusThereAreAndWhichShareNvlinkBeyondTheirNode) {
  const auto gpus = read_gpu_driver(STINT_FAKE_NVML);
  ASSERT_EQ(gpus.size(), 2U);  // of three one fell off the bus
  EXPECT_EQ(gpus[0].address, "0000:01:00.0");
  EXPECT_EQ(gpus[0].uuid, "GPU-one");
  EXPECT_EQ(gpus[0].model, "Fake");
  EXPECT_EQ(gpus[0].nvlink_domain, "0102030405060708090a0b0c0d0e0f10.7");
  EXPECT_EQ(gpus[1].address, "0008:01:00.0");
  EXPECT_EQ(gpus[1].nvlink_domain, "");
}

TEST(GpuDriver, IsNotThereOnAMachineWithoutGpus) {
  EXPECT_THAT(read_gpu_driver("libno-such-library.so.1"), IsEmpty());
  EXPECT_THAT(read_gpu_driver("libc.so.6"), IsEmpty());
}

Machine four_gpus() {
  Machine machine;
  for (int i = 0; i < 4; ++i)
    machine.gpus.push_back({fmt::format("0000:0{}:00.0", i + 1), "", {{i}, 0, 0}, 0, "", ""});
  return machine;
}

TEST(UsableGpus, AreThoseThatTheDriverShows) {
  Machine machine = four_gpus();
  keep_usable_gpus(machine, {{"0000:02:00.0", "GPU-b", "", "x"}, {"0000:04:00.0", "GPU-d", "", "x"}}, {});
  ASSERT_EQ(machine.gpus.size(), 2U);
  EXPECT_EQ(machine.gpus[1].uuid, "GPU-d");
  EXPECT_EQ(machine.gpus[1].index, 1);
  EXPECT_THAT(machine.gpus[1].place.bridges, ElementsAre(3));
}

TEST(UsableGpus, WithoutADriverThereAreNoneAndItSaysSo) {
  Machine machine = four_gpus();
  keep_usable_gpus(machine, {}, {});
  EXPECT_THAT(machine.gpus, IsEmpty());
  EXPECT_THAT(machine.notes, ElementsAre(HasSubstr("4 NVIDIA GPUs on the PCI bus")));
}

TEST(UsableGpus, AreThoseThatCudaIsToShow) {
  Machine machine = four_gpus();
  machine.captured = true;
  machine.gpus[0].uuid = "GPU-abc";
  keep_usable_gpus(machine, {}, "2,GPU-ab,9,1");
  ASSERT_EQ(machine.gpus.size(), 2U);  // CUDA does not read on behind a number that there is not
  EXPECT_EQ(machine.gpus[0].index, 0);
  EXPECT_EQ(machine.gpus[1].index, 2);
  EXPECT_THAT(machine.notes, ElementsAre(HasSubstr("leaves 2 of 4 GPUs")));
}

}  // namespace
}  // namespace stint::topology
