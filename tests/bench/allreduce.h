// SPDX-License-Identifier: Apache-2.0
// What the three programs of the benchmark allreduce_shm have in common: sizes, cores, and how a time is
// taken. A time is that of one of many calls back to back, over rank 0's clock; the median of some such
// batches.
#pragma once

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <iostream>
#include <string>
#include <vector>

namespace stint::bench {

inline constexpr std::array<std::size_t, 9> kSizes{8,       512,     4 << 10,  32 << 10, 64 << 10,
                                                   1 << 20, 4 << 20, 16 << 20, 64 << 20};
inline constexpr int kBatches = 5;

// Rank r on the r-th core that we may use, round and round: the same in all three.
inline void bind_to_core(int rank) {
  cpu_set_t allowed, own;
  sched_getaffinity(0, sizeof allowed, &allowed);
  int skip = rank % CPU_COUNT(&allowed);
  CPU_ZERO(&own);
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &allowed) && skip-- == 0) CPU_SET(core, &own);
  sched_setaffinity(0, sizeof own, &own);
}

inline double microseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count();
}

inline double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// Calls of one batch: about 20 ms if memory moves 2 GB a second, at most `most`.
inline int calls(std::size_t bytes, std::size_t most) {
  return static_cast<int>(std::clamp<std::size_t>((40 << 20) / (bytes + 8192), 2, most));
}

// The time of one call of all_reduce, in microseconds. Every rank calls this.
template <typename AllReduce, typename Barrier>
double time_of(std::size_t bytes, AllReduce&& all_reduce, Barrier&& barrier, std::size_t most_calls = 2000) {
  std::vector<double> times;
  for (int batch = 0; batch <= kBatches; ++batch) {
    const int count = batch == 0 ? 2 : calls(bytes, most_calls);  // the first warms up
    barrier();
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) all_reduce();
    if (batch > 0) times.push_back(microseconds_since(begin) / count);
  }
  return median(times);
}

inline void report(const char* buffers, const char* type, std::size_t count, double us) {
  std::cout << fmt::format(R"({{"buffers": "{}", "type": "{}", "count": {}, "us": {:.3f}}})", buffers, type,
                           count, us)
            << std::endl;
}

}  // namespace stint::bench
