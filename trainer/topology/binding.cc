// SPDX-License-Identifier: Apache-2.0
#include "trainer/topology/binding.h"

#include <fmt/format.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <map>

#include "base/error.h"

namespace stint::topology {
namespace {

using Cores = std::vector<Core>;

Cores cores_of_slice(const Cores& cores, Slice slice) {
  const auto total = cores.size(), count = static_cast<std::size_t>(slice.count);
  const auto index = static_cast<std::size_t>(slice.index);
  if (total < count) return {cores[index % total]};
  const auto at = [&](std::size_t i) {
    return cores.begin() + static_cast<std::ptrdiff_t>(i * total / count);
  };
  return {at(index), at(index + 1)};
}

std::vector<int> cpus_of(Cores::const_iterator begin, Cores::const_iterator end) {
  std::vector<int> cpus;
  for (; begin != end; ++begin) cpus.insert(cpus.end(), begin->cpus.begin(), begin->cpus.end());
  std::ranges::sort(cpus);
  return cpus;
}

std::map<int, Cores> by_numa(const Cores& cores) {
  std::map<int, Cores> domains;
  for (const Core& core : cores) domains[core.numa].push_back(core);
  return domains;
}

// How many workers each NUMA node takes, as even as it goes; fewer than `workers` in all if they do not fit.
std::map<int, int> spread(const std::map<int, Cores>& domains, int workers, int threads) {
  std::map<int, int> room, taken;
  for (const auto& [numa, cores] : domains) room[numa] = static_cast<int>(cores.size()) / threads;
  for (int worker = 0; worker < workers; ++worker) {
    const auto widest = std::ranges::max_element(room, {}, [](const auto& entry) { return entry.second; });
    if (widest->second == 0) break;
    --widest->second;
    ++taken[widest->first];
  }
  return taken;
}

void bind_distinct(BindingPlan& plan, const Cores& cores, int workers) {
  const auto domains = by_numa(cores);
  const auto taken = spread(domains, workers, plan.threads);
  int placed = 0;
  for (const auto& [numa, count] : taken) placed += count;
  const auto take = [&](const Cores& from, int count) {
    for (auto core = from.begin(); count > 0; --count, core += plan.threads)
      plan.cpus.push_back(cpus_of(core, core + plan.threads));
  };
  if (placed == workers) {
    for (const auto& [numa, count] : taken) take(domains.at(numa), count);
  } else {
    take(cores, workers);
    plan.note += fmt::format("{}a worker spans NUMA nodes", plan.note.empty() ? "" : "; ");
  }
}

void bind_shared(BindingPlan& plan, const Cores& cores, int workers) {
  plan.shared = true;
  for (int worker = 0; worker < workers; ++worker)
    plan.cpus.push_back(cores[static_cast<std::size_t>(worker) % cores.size()].cpus);
}

// Threads for each when all stand in the NUMA nodes they are to be near to; 0: that is not possible.
int threads_near(const std::map<int, Cores>& domains, std::span<const int> near) {
  std::map<int, std::size_t> wanted;
  for (const int numa : near) ++wanted[numa];
  std::size_t fitting = near.empty() ? 0 : std::numeric_limits<int>::max();
  for (const auto& [numa, count] : wanted) {
    const auto domain = domains.find(numa);
    fitting = std::min(fitting, domain == domains.end() ? 0 : domain->second.size() / count);
  }
  return static_cast<int>(fitting);
}

void bind_near(BindingPlan& plan, const std::map<int, Cores>& domains, std::span<const int> near) {
  std::map<int, std::ptrdiff_t> taken;
  for (const int numa : near) {
    const auto core = domains.at(numa).begin() + taken[numa];
    plan.cpus.push_back(cpus_of(core, core + plan.threads));
    taken[numa] += plan.threads;
  }
}

void require_sense(const Cores& cores, int workers, int threads, Slice slice) {
  if (cores.empty()) fail("binding: no core to bind to");
  if (std::ranges::any_of(cores, [](const Core& core) { return core.cpus.empty(); }))
    fail("binding: a core without processors");
  if (workers < 1) fail("binding: {} workers, at least 1 is needed", workers);
  if (threads < 0) fail("binding: {} threads a worker, 0 (as fits) or more is needed", threads);
  if (slice.count < 1 || slice.index < 0 || slice.index >= slice.count)
    fail("binding: no slice {} of {}", slice.index, slice.count);
}

// Memory policies are refused in some containers; the cores then still decide where pages are first touched.
void prefer_memory(const std::vector<unsigned long>& mask) noexcept {
  constexpr unsigned long kBits = 8 * sizeof(unsigned long);
  if (!mask.empty()) syscall(SYS_set_mempolicy, MPOL_PREFERRED, mask.data(), mask.size() * kBits + 1);
}

}  // namespace

std::vector<unsigned long> mask_of(const std::vector<int>& numbers) {
  constexpr int kBits = 8 * sizeof(unsigned long);
  std::vector<unsigned long> mask(static_cast<std::size_t>(std::ranges::max(numbers) / kBits) + 1);
  for (const int number : numbers) mask[static_cast<std::size_t>(number / kBits)] |= 1UL << (number % kBits);
  return mask;
}

BindingPlan plan_binding(const Cores& cores, int workers, int threads_per_worker, Slice slice,
                         std::span<const int> near) {
  require_sense(cores, workers, threads_per_worker, slice);
  const Cores mine = cores_of_slice(cores, slice);
  const auto domains = by_numa(mine);
  const int beside = threads_near(domains, near), available = static_cast<int>(mine.size());
  const int fitting = beside > 0 ? beside : available / workers;
  const int wished = threads_per_worker == 0 ? std::max(fitting, 1) : threads_per_worker;
  BindingPlan plan;
  plan.threads = std::clamp(wished, 1, std::max(fitting, 1));
  if (cores.size() < static_cast<std::size_t>(slice.count)) {
    plan.shared = true;
    plan.note = fmt::format("{} nodes share the {} cores of this host", slice.count, cores.size());
  }
  if (!near.empty() && beside == 0)
    plan.note += fmt::format("{}the GPUs' NUMA nodes have too few cores for their workers",
                             plan.note.empty() ? "" : "; ");
  const char* separator = plan.note.empty() ? "" : "; ";
  if (available < workers)
    plan.note += fmt::format("{}{} workers share {} {}", separator, workers, available,
                             available == 1 ? "core" : "cores");
  else if (plan.threads < wished)
    plan.note += fmt::format("{}{} x {} threads wished, {} cores: {} each", separator, workers, wished,
                             available, plan.threads);
  if (beside > 0)
    bind_near(plan, domains, near);
  else if (available < workers)
    bind_shared(plan, mine, workers);
  else
    bind_distinct(plan, mine, workers);
  std::ranges::transform(plan.cpus, std::back_inserter(plan.masks), mask_of);
  return plan;
}

int apply_binding(const BindingPlan& plan, int local_rank) noexcept {
  if (local_rank < 0 || static_cast<std::size_t>(local_rank) >= plan.masks.size()) return EINVAL;
  const auto& mask = plan.masks[static_cast<std::size_t>(local_rank)];
  const auto* set =
      reinterpret_cast<const cpu_set_t*>(mask.data());  // the kernel reads as many bytes as it is told
  if (static_cast<std::size_t>(local_rank) < plan.memory.size())
    prefer_memory(plan.memory[static_cast<std::size_t>(local_rank)]);
  return sched_setaffinity(0, mask.size() * sizeof mask[0], set) == 0 ? 0 : errno;
}

}  // namespace stint::topology
