// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/comm/reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <thread>

#include "trainer/comm/memory.h"
#include "trainer/comm/ring.h"

namespace stint::comm {
namespace {

std::uint64_t mixed(std::uint64_t x) {  // splitmix64's finish
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

std::uint64_t hashed(std::uint64_t hash, std::span<const float> data) {
  for (const float value : data) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    hash = mixed(hash ^ bits);
  }
  return hash;
}

std::span<float> own(std::span<float> data, const Communicator& communicator) {
  const Range range = chunk_of(data.size(), communicator.size(), communicator.rank());
  return data.subspan(range.begin, range.end - range.begin);
}

std::string complaint_of(const char* what, std::size_t count, const Status& status) {
  return fmt::format("{} of {}: {}", what, count, status ? "wrong bits" : status.detail);
}

std::string exercise_halves(Communicator& communicator, std::size_t count, std::span<float> expected) {
  auto data = input_of(communicator.rank(), count);
  if (auto s = communicator.reduce_scatter(data);
      !s || !same_bits(own(data, communicator), own(expected, communicator)))
    return complaint_of("reduce_scatter", count, s);
  const Range mine = chunk_of(count, communicator.size(), communicator.rank());
  std::fill(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(mine.begin), NAN);
  std::fill(data.begin() + static_cast<std::ptrdiff_t>(mine.end), data.end(), NAN);
  if (auto s = communicator.all_gather(data); !s || !same_bits(data, expected))
    return complaint_of("all_gather", count, s);
  return {};
}

std::string exercise_broadcast(Communicator& communicator, std::size_t count) {
  // Large ones from one root only: they take long.
  const int begin = count > 1000 ? communicator.size() / 2 : 0;
  const int end = count > 1000 ? begin + 1 : communicator.size();
  for (int root = begin; root < end; ++root) {
    const auto expected = input_of(root, count);
    auto data = communicator.rank() == root ? expected : std::vector<float>(count, NAN);
    if (auto s = communicator.broadcast(std::as_writable_bytes(std::span(data)), root);
        !s || !same_bits(data, expected))
      return complaint_of("broadcast", count, s);
  }
  return {};
}

}  // namespace

std::vector<float> input_of(int rank, std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t bits = mixed(mixed(static_cast<std::uint64_t>(rank) + 1) ^ i);
    const float unit = static_cast<float>(bits >> 40) / static_cast<float>(1 << 24) - 0.5F;
    values[i] = std::ldexp(unit, static_cast<int>(bits % 21) - 10);
  }
  return values;
}

std::vector<float> reference_sum(int size, std::size_t count) {
  std::vector<std::vector<float>> inputs;
  for (int rank = 0; rank < size; ++rank) inputs.push_back(input_of(rank, count));
  std::vector<float> sum(count);
  for (int chunk = 0; chunk < size; ++chunk) {
    const Range range = chunk_of(count, size, chunk);
    for (std::size_t i = range.begin; i < range.end; ++i) {
      sum[i] = inputs[static_cast<std::size_t>((chunk + 1) % size)][i];
      for (int k = 2; k <= size; ++k) sum[i] += inputs[static_cast<std::size_t>((chunk + k) % size)][i];
    }
  }
  return sum;
}

Exercise exercise(Communicator& communicator, std::span<const std::size_t> counts) {
  Exercise result;
  for (const std::size_t count : counts) {
    auto expected = reference_sum(communicator.size(), count);
    auto data = input_of(communicator.rank(), count);
    if (auto s = communicator.all_reduce(data); !s || !same_bits(data, expected))
      return {complaint_of("all_reduce", count, s), 0};
    result.hash = hashed(result.hash, data);
    if (auto c = exercise_halves(communicator, count, expected); !c.empty()) return {c, 0};
    if (auto c = exercise_broadcast(communicator, count); !c.empty()) return {c, 0};
    if (auto s = communicator.barrier(); !s) return {complaint_of("barrier", count, s), 0};
  }
  return result;
}

std::string hash_in_memory(int size) {
  MemoryNetwork network(size);
  std::vector<std::uint64_t> hashes(static_cast<std::size_t>(size));
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < size; ++rank)
      threads.emplace_back([&, rank] {
        RingCommunicator communicator(network.transport(rank), 1, std::chrono::seconds(30));
        hashes[static_cast<std::size_t>(rank)] = exercise(communicator, all_counts()).hash;
      });
  }
  return fmt::format("{:016x}", hashes[0]);
}

std::span<const std::size_t> all_counts() {
  static constexpr std::array<std::size_t, 8> kCounts{0, 1, 2, 3, 7, 64, 1000, 1'000'000};
  return kCounts;
}

}  // namespace stint::comm
