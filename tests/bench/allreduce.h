// SPDX-License-Identifier: Apache-2.0
// What the programs of the benchmarks allreduce_shm and allreduce_net have in common: sizes, cores, numbers,
// and how a time is taken. A time is that of one of many calls back to back, over rank 0's clock; the median
// of some such batches.
#pragma once

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <iostream>
#include <string>
#include <vector>

namespace stint::bench {

struct Effort {
  std::vector<std::size_t> sizes;
  int batches;
  std::size_t bytes_a_batch, least_calls, most_calls;
};

// In one machine: a batch takes about 20 ms if memory moves 2 GB a second.
inline const Effort kInMemory{
    {8, 512, 4 << 10, 32 << 10, 64 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20}, 5, 40 << 20, 2, 2000};
// Between nodes whose links move 0.1 GB a second.
inline const Effort kOverNetwork{{8, 4 << 10, 64 << 10, 1 << 20, 64 << 20}, 3, 4 << 20, 1, 100};

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

// Calls of one batch.
inline int calls(const Effort& effort, std::size_t bytes) {
  return static_cast<int>(
      std::clamp(effort.bytes_a_batch / (bytes + 8192), effort.least_calls, effort.most_calls));
}

// The time of one call of all_reduce, in microseconds. Every rank calls this.
template <typename AllReduce, typename Barrier>
double time_of(const Effort& effort, std::size_t bytes, AllReduce&& all_reduce, Barrier&& barrier) {
  std::vector<double> times;
  for (int batch = 0; batch <= effort.batches; ++batch) {
    const int all = calls(effort, bytes), count = batch == 0 ? std::min(all, 2) : all;  // the first warms up
    barrier();
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) all_reduce();
    if (batch > 0) times.push_back(microseconds_since(begin) / count);
  }
  return median(times);
}

// Numbers whose sums over ranks are exact in any order of addition.
inline void fill(std::vector<float>& data, int rank) {
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<float>((i % 251) * (rank + 1));
}
inline bool is_sum(const std::vector<float>& data, int ranks) {
  const std::size_t all = static_cast<std::size_t>(ranks) * static_cast<std::size_t>(ranks + 1) / 2;
  for (std::size_t i = 0; i < data.size(); ++i)
    if (data[i] != static_cast<float>((i % 251) * all)) return false;
  return true;
}

inline void report(const char* buffers, const char* type, std::size_t count, double us) {
  std::cout << fmt::format(R"({{"buffers": "{}", "type": "{}", "count": {}, "us": {:.3f}}})", buffers, type,
                           count, us)
            << std::endl;
}

}  // namespace stint::bench
