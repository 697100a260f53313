// SPDX-License-Identifier: Apache-2.0
// allreduce_stint RANKS: times of our all_reduce through shared memory, ranks as processes; and STREAM's
// triad (McCalpin, 1995) by the same ranks at the same time, the limit of what their memory can move.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "base/error.h"
#include "base/text.h"
#include "tests/bench/allreduce.h"
#include "trainer/comm/shm.h"

namespace stint::bench {
namespace {

using comm::Bf16;
using comm::ShmCommunicator;
using comm::ShmSegment;
using comm::Status;

void must(const Status& status) {
  if (!status) fail("{}", status.detail);
}

template <comm::Element T>
void check(ShmCommunicator& communicator, std::span<T> data) {
  const auto number = [](float value) {
    if constexpr (std::same_as<T, float>)
      return value;
    else
      return comm::to_bf16(value);
  };
  std::ranges::fill(data, number(static_cast<float>(communicator.rank() + 1)));
  must(communicator.all_reduce(data));
  const int ranks = communicator.size();
  const T sum = number(static_cast<float>(ranks * (ranks + 1) / 2));
  for (const T& value : data)
    if (std::memcmp(&value, &sum, sizeof sum) != 0) fail("all_reduce gave a wrong sum");
  std::ranges::fill(data, number(0));
}

template <comm::Element T>
void measure(ShmCommunicator& communicator, const char* buffers, const char* type, std::span<T> memory) {
  for (const std::size_t bytes : kInMemory.sizes) {
    const auto data = memory.first(bytes / sizeof(float));
    check<T>(communicator, data);
    const double us = time_of(
        kInMemory, data.size_bytes(), [&] { must(communicator.all_reduce(data)); },
        [&] { must(communicator.barrier()); });
    if (communicator.rank() == 0) report(buffers, type, data.size(), us);
  }
}

// Bytes a second of all ranks together; each element counts three times 8 bytes, as STREAM counts. The median
// of some passes, as all_reduce's time is, each from one barrier to the next: where ranks share a core, they
// do not begin together.
void measure_triad(ShmCommunicator& communicator) {
  constexpr std::size_t kCount = (64 << 20) / sizeof(double);
  std::vector<double> a(kCount, 0), b(kCount, 1), c(kCount, 2);
  std::vector<double> times;
  must(communicator.barrier());
  auto begin = std::chrono::steady_clock::now();
  constexpr int kPasses = 20;
  for (int pass = 0; pass < kPasses; ++pass) {
    for (std::size_t i = 0; i < kCount; ++i) a[i] = b[i] + pass * c[i];
    must(communicator.barrier());
    times.push_back(microseconds_since(begin));
    begin = std::chrono::steady_clock::now();
  }
  if (a[kCount / 2] != 1 + 2 * (kPasses - 1)) fail("triad: wrong sum");
  if (communicator.rank() == 0)
    std::cout << fmt::format(R"({{"triad_gbps": {:.3f}}})", 3 * sizeof(double) * kCount *
                                                                static_cast<double>(communicator.size()) /
                                                                median(times) / 1e3)
              << std::endl;
}

void live(const ShmSegment& segment, int rank) {
  bind_to_core(rank);
  ShmCommunicator communicator(ShmSegment::adopt(dup(segment.descriptor())),
                               comm::whole_view(1, rank, segment.shape().ranks), std::chrono::seconds(60));
  const auto registered = communicator.memory();
  const std::size_t most = kInMemory.sizes.back() / sizeof(float);
  std::vector<float> elsewhere(most, 0);
  std::vector<Bf16> elsewhere_bf16(most);
  measure<float>(communicator, "registered", "fp32", {reinterpret_cast<float*>(registered.data()), most});
  measure_triad(communicator);
  measure<Bf16>(communicator, "registered", "bf16", {reinterpret_cast<Bf16*>(registered.data()), most});
  measure<float>(communicator, "arbitrary", "fp32", elsewhere);
  measure<Bf16>(communicator, "arbitrary", "bf16", elsewhere_bf16);
}

int run(int ranks) {
  const auto segment = ShmSegment::create({ranks, 1, kInMemory.sizes.back()});
  std::vector<pid_t> ids;
  for (int rank = 0; rank < ranks; ++rank) {
    ids.push_back(fork());
    if (ids.back() != 0) continue;
    try {
      live(segment, rank);
      std::_Exit(0);
    } catch (const std::exception& error) {
      std::cerr << "allreduce_stint: rank " << rank << ": " << error.what() << '\n';
      std::_Exit(1);
    }
  }
  bool well = true;
  for (const pid_t id : ids) {
    int status = 0;
    waitpid(id, &status, 0);
    well = well && status == 0;
  }
  return well ? 0 : 1;
}

}  // namespace
}  // namespace stint::bench

int main(int argc, char** argv) {
  try {
    if (argc != 2) stint::fail("usage: allreduce_stint RANKS");
    return stint::bench::run(static_cast<int>(stint::parse_integer(argv[1], 1, 64)));
  } catch (const std::exception& error) {
    std::cerr << "allreduce_stint: " << error.what() << '\n';
    return 1;
  }
}
