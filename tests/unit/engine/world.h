// SPDX-License-Identifier: Apache-2.0
// Ranks as threads over a network in memory, each with an engine of its own.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "tiny.h"
#include "trainer/comm/memory.h"
#include "trainer/comm/ring.h"
#include "trainer/engine/engine.h"

namespace stint::engine {

inline constexpr std::chrono::milliseconds kTimeout{20'000};

// What a rank throws, all throw.
inline void in_world(int size, const std::function<void(comm::Communicator&)>& body) {
  comm::MemoryNetwork network(size);
  std::vector<std::exception_ptr> thrown(static_cast<std::size_t>(size));
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < size; ++rank)
      threads.emplace_back([&, rank] {
        try {
          model::start_mathematics(1);
          comm::RingCommunicator communicator(network.transport(rank), 1, kTimeout);
          body(communicator);
        } catch (...) {
          thrown[static_cast<std::size_t>(rank)] = std::current_exception();
          network.kill(rank);
        }
      });
  }
  for (const auto& error : thrown)
    if (error) std::rethrow_exception(error);
}

struct Bits {
  std::int64_t step = 0;
  std::vector<float> parameters, exp_avg, exp_avg_sq;
  bool operator==(const Bits& other) const {
    const auto same = [](const auto& a, const auto& b) {
      return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
    };
    return step == other.step && same(parameters, other.parameters) && same(exp_avg, other.exp_avg) &&
           same(exp_avg_sq, other.exp_avg_sq);
  }
};

inline Bits bits_of(const State& state) {
  const auto copy = [](const Buffer& b) {
    std::vector<float> values(b.span().size());
    b.device().get(values.data(), b.span().data(), b.span().size_bytes());
    return values;
  };
  return {state.step, copy(state.parameters), copy(state.exp_avg), copy(state.exp_avg_sq)};
}

// A whole checkpoint, now; rank 0's.
inline CheckpointStore::Saved save(Engine& engine) {
  EXPECT_TRUE(engine.begin_save());
  EXPECT_TRUE(engine.finish_save());
  CheckpointStore::Saved last;
  for (const auto& one : engine.take_saves()) {
    if (one.error) std::rethrow_exception(one.error);
    last = one.saved;
  }
  return last;
}

// Trains until `until` and saves; each rank's state.
inline std::vector<Bits> train(const recipes::Recipe& recipe, const RunDirectory& run, int size,
                               std::int64_t until, std::vector<double>* losses = nullptr) {
  std::vector<Bits> result(static_cast<std::size_t>(size));
  in_world(size, [&](comm::Communicator& communicator) {
    Engine engine(recipe, run, communicator, {});
    ASSERT_TRUE(engine.start());
    while (engine.current_step() < until) {
      StepReport report;
      ASSERT_TRUE(engine.step(false, report));
      if (losses != nullptr && communicator.rank() == 0) losses->push_back(report.loss);
    }
    save(engine);
    result[static_cast<std::size_t>(communicator.rank())] = bits_of(engine.state());
  });
  return result;
}

}  // namespace stint::engine
