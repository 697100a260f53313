// SPDX-License-Identifier: Apache-2.0
// The probe that chooses among the ways: each is tried on some sizes, smallest first. What counts is the time
// of all ranks together, added by an all_reduce, so that all decide alike.
#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "trainer/comm/ring.h"

namespace stint::comm {
namespace {

constexpr std::array<std::size_t, 5> kSizes{1 << 10, 16 << 10, 128 << 10, 1 << 20, 8 << 20};
constexpr std::size_t kGrowth = 8, kNearer = 3;  // from one to the next; its root
constexpr int kTries = 3;                        // the shortest counts

}  // namespace

Status RingCommunicator::measure(const std::function<Status()>& body, float& seconds) {
  std::array<float, kTries> times{};
  for (float& time : times) {
    if (Status status = barrier(); !status) return status;
    const auto begin = Clock::now();
    if (Status status = body(); !status) return status;
    time = std::chrono::duration<float>(Clock::now() - begin).count();
  }
  if (Status status = all_reduce(times); !status) return status;
  seconds = *std::ranges::min_element(times);
  return {};
}

Status RingCommunicator::measure_size(std::size_t bytes, Ways& best, float& seconds) {
  std::vector<float> data(bytes / sizeof(float));
  const auto better = [&](auto& part, auto way, float& shortest, const auto& operation) -> Status {
    const auto before = std::exchange(part, way);
    ways_.set(0, best);
    float taken = 0;
    if (Status status = measure([&] { return operation(data); }, taken); !status) return status;
    seconds += taken * kTries;
    if (taken < shortest)
      shortest = taken;
    else
      part = before;
    return {};
  };
  const auto try_all = [&](auto& part, const auto& ways, const auto& operation) -> Status {
    float shortest = std::numeric_limits<float>::max();
    for (const auto way : ways)
      if (Status status = better(part, way, shortest, operation); !status) return status;
    return {};
  };
  best.all_reduce = AllReduce::kParts;
  if (Status status =
          try_all(best.reduce, reduce_ways(size()), [&](Data all) { return reduce_scatter(all); });
      !status)
    return status;
  if (Status status = try_all(best.gather, gather_ways(size()), [&](Data all) { return all_gather(all); });
      !status)
    return status;
  if (bytes > WaysBySize::kMostWhole) return {};
  return try_all(best.all_reduce, all_reduce_ways(size()), [&](Data all) { return all_reduce(all); });
}

Status RingCommunicator::measure_ways(std::chrono::milliseconds limit) {
  if (size() == 1) return {};
  WaysBySize chosen;
  const WaysBySize before = ways_;
  const float most = std::chrono::duration<float>(limit).count() * static_cast<float>(size());
  float seconds = 0, last = 0;  // of all ranks together
  for (const std::size_t bytes : kSizes) {
    Ways best = before(bytes);
    ways_ = WaysBySize{};
    const float begin = seconds;
    const Status status = measure_size(bytes, best, seconds);
    ways_ = before;
    if (!status) return status;
    // In between, whichever size is nearer.
    chosen.set(bytes == kSizes.front() ? 0 : bytes / kNearer, best);
    last = seconds - begin;
    if (seconds + last * kGrowth > most) break;
  }
  ways_ = chosen;
  return {};
}

}  // namespace stint::comm
