// SPDX-License-Identifier: Apache-2.0
// What each rank says to all others: one record of fixed size, or one short text. Everyone then has all of
// them in the order of ranks, and so comes to the same conclusion.
#pragma once

#include <cstddef>
#include <string>
#include <type_traits>
#include <vector>

#include "base/final_error.h"
#include "trainer/comm/communicator.h"

namespace stint::engine {

// records[rank] is ours; afterwards records holds everyone's.
template <typename Record>
comm::Status exchange(comm::Communicator& communicator, std::vector<Record>& records) {
  static_assert(std::is_trivially_copyable_v<Record> && sizeof(Record) % sizeof(float) == 0);
  const std::span floats(reinterpret_cast<float*>(records.data()),
                         records.size() * sizeof(Record) / sizeof(float));
  return communicator.all_gather(floats);
}

// What came of something that a rank tried.
struct Outcome {
  enum Kind { kDone, kError, kFinal };  // kFinal: would meet every further attempt too
  Kind kind = kDone;
  std::string text;  // of the error; else what the rank has to say
};
constexpr std::size_t kMaxText = 1000;  // what is longer is cut

// Runs the body, whose result is the text, and catches what it throws.
template <typename Body>
Outcome attempt(Body&& body) {
  try {
    return {Outcome::kDone, body()};
  } catch (const FinalError& error) {
    return {Outcome::kFinal, error.what()};
  } catch (const std::exception& error) {
    return {Outcome::kError, error.what()};
  }
}

comm::Status exchange(comm::Communicator& communicator, const Outcome& mine, std::vector<Outcome>& all);
// Throws the first error there is, as FinalError or Error.
void throw_first_error(const std::vector<Outcome>& all);

}  // namespace stint::engine
