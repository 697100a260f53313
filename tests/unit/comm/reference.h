// SPDX-License-Identifier: Apache-2.0
// The slow reference of the collectives, and one exercise that holds a communicator against it number by
// number.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "trainer/comm/communicator.h"

namespace stint::comm {

// Numbers of many magnitudes, so that another order of addition gives other bits. T: float or Bf16.
template <Element T>
std::vector<T> input_of(int rank, std::size_t count);
// The sum over ranks as communicator.h orders and rounds it.
template <Element T>
std::vector<T> reference_sum(int size, std::size_t count);

struct Exercise {
  std::string complaint;   // empty: every result was right, bit for bit
  std::uint64_t hash = 0;  // of all results of all_reduce; the same on every rank
};
// Every operation, over both types; on buffers in `memory`, where it is not empty.
Exercise exercise(Communicator& communicator, std::span<const std::size_t> counts,
                  std::span<std::byte> memory = {});

// The hash that so many ranks must come to over any back end: that of threads over the network in memory.
std::string hash_in_memory(int size, std::span<const std::size_t> counts);

// What the tests run over every back end.
std::span<const std::size_t> all_counts();
// Where it is not sums that are tested.
std::span<const std::size_t> some_counts();

}  // namespace stint::comm
