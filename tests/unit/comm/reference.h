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

// Numbers of many magnitudes, so that another order of addition gives other bits.
std::vector<float> input_of(int rank, std::size_t count);
// The sum over ranks as the contract orders it: chunk c in the order c+1, c+2, …, c.
std::vector<float> reference_sum(int size, std::size_t count);

struct Exercise {
  std::string complaint;   // empty: every result was right, bit for bit
  std::uint64_t hash = 0;  // of all results of all_reduce; the same on every rank
};
Exercise exercise(Communicator& communicator, std::span<const std::size_t> counts);

// The hash that a ring of so many ranks must come to: that of threads over the network in memory.
std::string hash_in_memory(int size);

// What the tests run over every back end.
std::span<const std::size_t> all_counts();

}  // namespace stint::comm
