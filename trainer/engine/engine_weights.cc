// SPDX-License-Identifier: Apache-2.0
// The engine's side of the final weights: who writes which file of them.
#include <chrono>

#include "trainer/engine/engine.h"
#include "trainer/engine/exchange.h"
#include "trainer/engine/weights.h"

namespace stint::engine {
namespace {

// For a file of some GiB on a slow disk. Whoever dies meanwhile ends the others through its agent.
constexpr std::chrono::hours kWriting{1};

}  // namespace

comm::Status Engine::write_weights(const std::filesystem::path& folder, std::string& problem) {
  const auto ranks = static_cast<std::size_t>(communicator_.size()),
             rank = static_cast<std::size_t>(communicator_.rank());
  const WeightsFolder weights(checkpoints_.path_of(state_.step), folder, layout_, ranks);
  constexpr char kThere[] = "there";
  std::vector<Outcome> all;
  const auto together = [&](auto&& body) {
    const Outcome mine = attempt(body);
    return queue_.run([&] { return exchange(communicator_, mine, all); });
  };
  auto status = together([&]() -> std::string {
    if (rank != 0) return {};
    if (weights.exists()) return kThere;
    weights.begin();
    return {};
  });
  if (!status || all.front().text == kThere) return status;
  if (all.front().kind == Outcome::kDone) {
    const auto usual = communicator_.timeout();
    communicator_.set_timeout(kWriting);
    status = together([&] {
      for (std::size_t file = rank; file < weights.files(); file += ranks) weights.write(file);
      return std::string();
    });
    communicator_.set_timeout(usual);
  }
  if (!status) return status;
  try {
    throw_first_error(all);
    if (rank == 0) weights.finish(config_, recipe_.data.sequence_length);
  } catch (const std::exception& error) {
    problem = error.what();
    if (rank == 0) weights.abandon();
  }
  return {};
}

}  // namespace stint::engine
