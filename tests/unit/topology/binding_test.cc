// SPDX-License-Identifier: Apache-2.0
#include "trainer/topology/binding.h"

#include <gmock/gmock.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <set>

#include "base/error.h"

namespace stint::topology {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<Core> machine(const char* synthetic) {
  setenv("HWLOC_SYNTHETIC", synthetic, 1);
  auto cores = read_machine().cores;
  unsetenv("HWLOC_SYNTHETIC");
  return cores;
}

TEST(Machine, ListsCoresWithTheirThreadsAndNumaNodes) {
  const auto cores = machine("package:2 numa:1 core:4 pu:2");
  ASSERT_EQ(cores.size(), 8U);
  EXPECT_EQ(cores[0], (Core{0, {0, 1}}));
  EXPECT_EQ(cores[7], (Core{1, {14, 15}}));
}

TEST(Machine, ADescriptionThatHwlocCannotReadIsAClearErrorOrIgnoredByIt) {
  setenv("HWLOC_XMLFILE", "/nonexistent/machine.xml", 1);
  try {
    EXPECT_FALSE(read_machine().cores.empty());
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("HWLOC_XMLFILE"));
  }
  unsetenv("HWLOC_XMLFILE");
}

TEST(Machine, HonoursTheAffinityOfTheProcess) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  int last = CPU_SETSIZE - 1;
  while (!CPU_ISSET(last, &before)) --last;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(last, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  const auto cores = read_machine().cores;
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
  ASSERT_EQ(cores.size(), 1U);
  EXPECT_THAT(cores[0].cpus, ElementsAre(last));
}

TEST(Binding, GivesEachWorkerCoresOfItsOwnWithinOneNumaNode) {
  const auto plan = plan_binding(machine("package:2 numa:1 core:4 pu:2"), 4, 2);
  EXPECT_THAT(plan.cpus, ElementsAre(ElementsAre(0, 1, 2, 3), ElementsAre(4, 5, 6, 7),
                                     ElementsAre(8, 9, 10, 11), ElementsAre(12, 13, 14, 15)));
  EXPECT_EQ(plan.threads, 2);
  EXPECT_FALSE(plan.shared);
  EXPECT_EQ(plan.note, "");
}

TEST(Binding, SpreadsWorkersOverTheNumaNodes) {
  const auto plan = plan_binding(machine("package:2 numa:1 core:4 pu:1"), 2, 1);
  EXPECT_THAT(plan.cpus, ElementsAre(ElementsAre(0), ElementsAre(4)));
}

TEST(Binding, DoesNotSplitAWorkerWhileItFitsIntoANumaNode) {
  const auto plan = plan_binding(machine("package:2 numa:1 core:4 pu:1"), 2, 3);
  EXPECT_THAT(plan.cpus, ElementsAre(ElementsAre(0, 1, 2), ElementsAre(4, 5, 6)));
  EXPECT_EQ(plan.note, "");
}

TEST(Binding, AWorkerWiderThanANumaNodeSpansAndItSaysSo) {
  const auto plan = plan_binding(machine("package:2 numa:1 core:4 pu:1"), 1, 8);
  EXPECT_THAT(plan.cpus, ElementsAre(ElementsAre(0, 1, 2, 3, 4, 5, 6, 7)));
  EXPECT_THAT(plan.note, HasSubstr("spans NUMA nodes"));
}

TEST(Binding, ZeroThreadsMeansAsManyAsThereAreCoresFor) {
  const auto cores = machine("package:1 numa:1 core:7 pu:1");
  EXPECT_EQ(plan_binding(cores, 2, 0).threads, 3);
  EXPECT_EQ(plan_binding(cores, 2, 0).note, "");
  EXPECT_EQ(plan_binding(cores, 7, 0).threads, 1);
}

TEST(Binding, WithFewerCoresThanThreadsWorkersGetFewerThreadsAndItSaysSo) {
  const auto plan = plan_binding(machine("package:1 numa:1 core:4 pu:1"), 2, 4);
  EXPECT_EQ(plan.threads, 2);
  EXPECT_FALSE(plan.shared);
  EXPECT_THAT(plan.cpus, ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3)));
  EXPECT_EQ(plan.note, "2 x 4 threads wished, 4 cores: 2 each");
}

TEST(Binding, WithFewerCoresThanWorkersTheyShareAndItSaysSo) {
  const auto plan = plan_binding(machine("package:1 numa:1 core:2 pu:1"), 3, 2);
  EXPECT_TRUE(plan.shared);
  EXPECT_EQ(plan.threads, 1);
  EXPECT_THAT(plan.cpus, ElementsAre(ElementsAre(0), ElementsAre(1), ElementsAre(0)));
  EXPECT_EQ(plan.note, "3 workers share 2 cores");
}

TEST(Binding, SlicesOfOneHostAreDistinctAndTogetherAllOfIt) {
  const auto cores = machine("package:2 numa:1 core:4 pu:2");
  for (const int slices : {1, 2, 3, 4, 8}) {
    std::set<int> seen;
    std::size_t used = 0;
    for (int index = 0; index < slices; ++index) {
      const auto plan = plan_binding(cores, 1, 0, {index, slices});
      EXPECT_FALSE(plan.shared);
      used += plan.cpus[0].size();
      seen.insert(plan.cpus[0].begin(), plan.cpus[0].end());
    }
    EXPECT_EQ(seen.size(), used) << slices << " slices";
    EXPECT_EQ(used, 16U) << slices << " slices";
  }
}

TEST(Binding, MoreNodesThanCoresTakeTurnsAndSaySo) {
  const auto cores = machine("package:1 numa:1 core:2 pu:1");
  std::vector<int> taken;
  for (int index = 0; index < 5; ++index) {
    const auto plan = plan_binding(cores, 1, 1, {index, 5});
    EXPECT_TRUE(plan.shared);
    EXPECT_EQ(plan.threads, 1);
    EXPECT_EQ(plan.note, "5 nodes share the 2 cores of this host");
    taken.push_back(plan.cpus[0].at(0));
  }
  EXPECT_THAT(taken, ElementsAre(0, 1, 0, 1, 0));
}

TEST(Binding, NonsenseIsRefused) {
  const auto cores = machine("package:1 numa:1 core:2 pu:1");
  EXPECT_THROW(plan_binding({}, 1, 1), Error);
  EXPECT_THROW(plan_binding({Core{}}, 1, 1), Error);
  EXPECT_THROW(plan_binding(cores, 0, 1), Error);
  EXPECT_THROW(plan_binding(cores, 1, -1), Error);
  EXPECT_THROW(plan_binding(cores, 1, 1, {2, 2}), Error);
  EXPECT_THROW(plan_binding(cores, 1, 1, {-1, 2}), Error);
  EXPECT_THROW(plan_binding(cores, 1, 1, {0, 0}), Error);
}

TEST(Binding, WorkersNeverShareWhereCoresSuffice) {
  const auto cores = machine("package:2 numa:2 core:3 pu:2");
  for (int workers = 1; workers <= 12; ++workers)
    for (int threads = 0; threads <= 12; ++threads) {
      const auto plan = plan_binding(cores, workers, threads);
      std::set<int> seen;
      for (const auto& cpus : plan.cpus) {
        EXPECT_EQ(cpus.size(), 2U * static_cast<std::size_t>(plan.threads));
        for (const int cpu : cpus) EXPECT_TRUE(seen.insert(cpu).second) << workers << " x " << threads;
      }
      EXPECT_EQ(plan.cpus.size(), static_cast<std::size_t>(workers));
    }
}

TEST(Binding, ApplyPrefersTheMemoryOfTheWorkersNumaNode) {
  auto plan = plan_binding({read_machine().cores.front()}, 1, 1);
  plan.memory = {mask_of({0})};
  const pid_t child = fork();
  if (child == 0) {
    if (apply_binding(plan, 0) != 0) _exit(1);
    int mode = -1;
    unsigned long nodes = 0;
    const bool known = syscall(SYS_get_mempolicy, &mode, &nodes, 8 * sizeof nodes, nullptr, 0) == 0;
    _exit(!known ? 2 : mode == MPOL_PREFERRED && nodes == 1 ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  if (WEXITSTATUS(status) == 2) GTEST_SKIP() << "this kernel or container has no memory policies";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Binding, ApplyBindsAChildAndReportsWhatItCannot) {
  const auto cores = read_machine().cores;
  const auto plan = plan_binding({cores.back()}, 1, 1);
  EXPECT_EQ(apply_binding(plan, -1), EINVAL);
  EXPECT_EQ(apply_binding(plan, 1), EINVAL);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    cpu_set_t set;
    const bool bound = apply_binding(plan, 0) == 0 && sched_getaffinity(0, sizeof set, &set) == 0;
    const bool right = bound && CPU_COUNT(&set) == static_cast<int>(plan.cpus[0].size()) &&
                       CPU_ISSET(static_cast<std::size_t>(plan.cpus[0][0]), &set);
    _exit(right ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  const auto nowhere = plan_binding({Core{0, {100'000}}}, 1, 1);
  EXPECT_EQ(apply_binding(nowhere, 0), EINVAL);
}

}  // namespace
}  // namespace stint::topology
