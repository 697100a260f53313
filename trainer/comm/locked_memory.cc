// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/locked_memory.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <cstdlib>
#include <fstream>
#include <system_error>

#include "base/final_error.h"

namespace stint::comm {
namespace {

constexpr std::uint64_t kIpcLock = std::uint64_t{1} << 14;  // CAP_IPC_LOCK: no limit holds

bool may_lock_anything(const std::filesystem::path& root) {
  std::ifstream file(root / "proc/self/status");
  for (std::string word; file >> word;)
    if (word == "CapEff:" && file >> word) return (std::strtoull(word.c_str(), nullptr, 16) & kIpcLock) != 0;
  return false;
}

std::string rdma_device(const std::filesystem::path& root) {
  std::error_code none;
  for (const auto& device : std::filesystem::directory_iterator(root / "sys/class/infiniband", none))
    return device.path().filename().string();
  return {};
}

}  // namespace

std::string locked_memory_problem(std::size_t bytes, std::uint64_t limit, const std::filesystem::path& root) {
  const std::string device = rdma_device(root);
  if (device.empty() || bytes <= limit || may_lock_anything(root)) return {};
  return fmt::format(
      "locked memory: {} is to send and receive {} MiB, of which {} MiB may be locked; have slurmd started "
      "with LimitMEMLOCK=infinity and set PropagateResourceLimitsExcept=MEMLOCK in slurm.conf, or do without "
      "RDMA: UCX_TLS=tcp,self",
      device, (bytes >> 20) + 1, limit >> 20);
}

void require_locked_memory(std::size_t bytes) {
  const char* transports = std::getenv("UCX_TLS");
  const std::string chosen = transports == nullptr ? "" : transports;
  if (chosen == "tcp,self" || chosen == "self,tcp" || chosen == "tcp") return;
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_MEMLOCK, &limit);
  const std::string problem = locked_memory_problem(bytes, limit.rlim_max);
  if (!problem.empty()) throw FinalError(problem);
}

}  // namespace stint::comm
