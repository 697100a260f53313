// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/node_memory.h"

#include <fcntl.h>

#include "base/final_error.h"
#include "recipes/memory.h"

namespace stint::agent {
namespace {

// The estimate is good to a tenth; nobody is refused for the last of it.
constexpr double kCertain = 0.9;

}  // namespace

NodeMemory::NodeMemory(int workers) : workers_(workers) {
  if (workers > 1 && workers <= comm::ShmSegment::kMaxRanks)
    descriptor_ = Descriptor(comm::ShmSegment::open_anonymous());
}

void NodeMemory::lay_out(std::uint32_t epoch, std::size_t bytes_of_each) {
  if (descriptor() < 0) return;
  segment_.emplace(
      comm::ShmSegment::lay_out(fcntl(descriptor(), F_DUPFD_CLOEXEC, 0), {workers_, epoch, bytes_of_each}));
}

void NodeMemory::declare_dead(int local) {
  if (segment_) segment_->declare_dead(local);
}

std::string check_memory(const recipes::Recipe& recipe, std::int64_t workers_in_all,
                         const std::vector<comm::MemoryRoom>& rooms) {
  const std::int64_t here = recipe.resources.workers_per_node;
  const auto total = recipes::memory(recipe, workers_in_all).total() * here;
  const auto need = static_cast<std::size_t>(static_cast<double>(total) * kCertain);
  std::string warning;
  for (const auto& room : rooms) {
    const auto text = [&](std::size_t bytes) {
      return fmt::format(
          "memory: {} {} MiB, the {} of a node need{} some {} MiB; {}fewer workers a node, or a lower "
          "data.micro_batch_size",
          room.of_host ? "this host has" : "the job may use", bytes >> 20,
          fmt::format("{} worker{}", here, here == 1 ? "" : "s"), here == 1 ? "s" : "", total >> 20,
          room.of_host ? "take " : "ask for more with --mem, or take ");
    };
    if (need > room.limit) throw FinalError(text(room.limit));
    if (need > room.left && warning.empty()) warning = text(room.left) + ": it is short just now";
  }
  return warning;
}

}  // namespace stint::agent
