// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/comm/reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

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

template <Element T>
bool same_bits(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

template <Element T>
std::uint64_t hashed(std::uint64_t hash, std::span<const T> data) {
  for (const T value : data) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    hash = mixed(hash ^ bits);
  }
  return hash;
}

template <Element T>
T element(float value) {
  if constexpr (std::same_as<T, float>)
    return value;
  else
    return to_bf16(value);
}

float number(float value) {
  return value;
}
float number(Bf16 value) {
  return to_float(value);
}

// The tree as communicator.h writes it down.
float tree(std::span<const float> terms) {
  if (terms.size() == 1) return terms[0];
  std::size_t left = 1;
  while (left * 2 < terms.size()) left *= 2;
  return tree(terms.first(left)) + tree(terms.subspan(left));
}

// Made once for all ranks of a test: making it costs more than what it is held against.
template <Element T>
const std::vector<T>& kept_sum(int size, std::size_t count) {
  static std::mutex mutex;
  static std::map<std::pair<int, std::size_t>, std::vector<T>> kept;
  const std::lock_guard lock(mutex);
  const auto [entry, made] = kept.try_emplace({size, count});
  if (made) entry->second = reference_sum<T>(size, count);
  return entry->second;
}

// One communicator, one type, one count.
template <Element T>
class Case {
 public:
  Case(Communicator& communicator, std::size_t count, std::span<std::byte> memory)
      : communicator_(communicator),
        count_(count),
        memory_(memory),
        expected_(kept_sum<T>(communicator.size(), count)),
        own_(chunk_of(count, communicator.size(), communicator.rank())) {}

  void run() {
    all_reduce();
    halves();
    broadcast();
    neighbours();
    expect("barrier", communicator_.barrier(), true);
  }
  const std::string& complaint() const { return complaint_; }
  std::uint64_t hash(std::uint64_t before) const { return hashed<T>(before, expected_); }

 private:
  std::vector<T> input(int rank) const { return input_of<T>(rank, count_); }

  // The same numbers where the communicator may find them more quickly; elsewhere on every rank.
  std::span<T> laid_out(std::vector<T>& values) const {
    if (memory_.empty()) return values;
    const auto offset = static_cast<std::size_t>(communicator_.rank()) * sizeof(T);
    const std::span<T> there(reinterpret_cast<T*>(memory_.data() + offset), values.size());
    std::ranges::copy(values, there.begin());
    return there;
  }

  void expect(const char* what, const Status& status, bool right) {
    if (complaint_.empty() && !(status && right))
      complaint_ = fmt::format("{} of {} {}: {}", what, count_, std::same_as<T, float> ? "fp32" : "bf16",
                               status ? "wrong bits" : status.detail);
  }

  void all_reduce() {
    auto values = input(communicator_.rank());
    const auto data = laid_out(values);
    const Status status = communicator_.all_reduce(data);
    expect("all_reduce", status, same_bits<T>(data, expected_));
  }

  void halves() {
    auto values = input(communicator_.rank());
    const auto data = laid_out(values);
    const Status status = communicator_.reduce_scatter(data);
    const auto own = [&](std::span<const T> all) { return all.subspan(own_.begin, own_.size()); };
    expect("reduce_scatter", status, same_bits<T>(own(data), own(expected_)));
    const auto begin = data.begin();
    std::fill(begin, begin + static_cast<std::ptrdiff_t>(own_.begin), element<T>(NAN));
    std::fill(begin + static_cast<std::ptrdiff_t>(own_.end), data.end(), element<T>(NAN));
    const Status gathered = communicator_.all_gather(data);
    expect("all_gather", gathered, same_bits<T>(data, expected_));
  }

  void broadcast() {
    // Large ones from one root only: they take long.
    const int begin = count_ > 1000 ? communicator_.size() / 2 : 0;
    const int end = count_ > 1000 ? begin + 1 : communicator_.size();
    for (int root = begin; root < end; ++root) {
      const auto sent = input(root);
      auto values = communicator_.rank() == root ? sent : std::vector<T>(count_, element<T>(NAN));
      const auto data = laid_out(values);
      const Status status = communicator_.broadcast(std::as_writable_bytes(data), root);
      expect("broadcast", status, same_bits<T>(data, sent));
    }
  }

  // To the right, from the left; two of them, so that a mix-up shows.
  void neighbours() {
    const int rank = communicator_.rank(), size = communicator_.size();
    if (size == 1) return;
    const int right = (rank + 1) % size, left = (rank + size - 1) % size;
    for (const int salt : {0, 100}) {
      auto values = input(rank + salt);
      const auto awaited = input(left + salt);
      const auto sent = laid_out(values);
      std::vector<T> got(count_, element<T>(NAN));
      const auto send = [&] {
        expect("send", communicator_.send(std::as_bytes(std::span(sent)), right), true);
      };
      if (rank % 2 == 0) send();
      const Status status = communicator_.receive(std::as_writable_bytes(std::span(got)), left);
      expect("receive", status, same_bits<T>(got, awaited));
      if (rank % 2 == 1) send();
    }
  }

  Communicator& communicator_;
  const std::size_t count_;
  const std::span<std::byte> memory_;
  const std::vector<T>& expected_;
  const Range own_;
  std::string complaint_;
};

template <Element T>
void exercise_type(Communicator& communicator, std::size_t count, std::span<std::byte> memory,
                   Exercise& result) {
  Case<T> one(communicator, count, memory);
  one.run();
  if (result.complaint.empty()) result.complaint = one.complaint();
  result.hash = one.hash(result.hash);
}

}  // namespace

template <Element T>
std::vector<T> input_of(int rank, std::size_t count) {
  std::vector<T> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t bits = mixed(mixed(static_cast<std::uint64_t>(rank) + 1) ^ i);
    const float unit = static_cast<float>(bits >> 40) / static_cast<float>(1 << 24) - 0.5F;
    values[i] = element<T>(std::ldexp(unit, static_cast<int>(bits % 21) - 10));
  }
  return values;
}

template <Element T>
std::vector<T> reference_sum(int size, std::size_t count) {
  std::vector<std::vector<T>> inputs;
  for (int rank = 0; rank < size; ++rank) inputs.push_back(input_of<T>(rank, count));
  std::vector<T> sums(count);
  std::vector<float> terms(inputs.size());
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t rank = 0; rank < inputs.size(); ++rank) terms[rank] = number(inputs[rank][i]);
    sums[i] = element<T>(tree(terms));
  }
  return sums;
}

template std::vector<float> input_of<float>(int, std::size_t);
template std::vector<Bf16> input_of<Bf16>(int, std::size_t);
template std::vector<float> reference_sum<float>(int, std::size_t);
template std::vector<Bf16> reference_sum<Bf16>(int, std::size_t);

Exercise exercise(Communicator& communicator, std::span<const std::size_t> counts,
                  std::span<std::byte> memory) {
  Exercise result;
  for (const std::size_t count : counts) {
    exercise_type<float>(communicator, count, memory, result);
    exercise_type<Bf16>(communicator, count, memory, result);
    if (!result.complaint.empty()) break;
  }
  return result;
}

std::string hash_in_memory(int size, std::span<const std::size_t> counts) {
  MemoryNetwork network(size);
  std::vector<std::uint64_t> hashes(static_cast<std::size_t>(size));
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < size; ++rank)
      threads.emplace_back([&, rank] {
        RingCommunicator communicator(network.transport(rank), 1, std::chrono::seconds(30));
        hashes[static_cast<std::size_t>(rank)] = exercise(communicator, counts).hash;
      });
  }
  return fmt::format("{:016x}", hashes[0]);
}

std::span<const std::size_t> all_counts() {
  static constexpr std::array<std::size_t, 8> kCounts{0, 1, 2, 3, 7, 64, 1000, 1'000'000};
  return kCounts;
}

std::span<const std::size_t> some_counts() {
  static constexpr std::array<std::size_t, 2> kCounts{7, 100'000};
  return kCounts;
}

}  // namespace stint::comm
