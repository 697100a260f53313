// SPDX-License-Identifier: Apache-2.0
// A worker without mathematics: speaks the protocol, "trains" steps of a given length, keeps its checkpoint
// as a number in the run directory, and misbehaves where told to. Steered by FAKE_* variables:
//   FAKE_STEP_MS   length of a step (default 20)
//   FAKE_DIE_NODE, FAKE_DIE_STEP, FAKE_DIE_EXIT   on that node (STINT_LOCAL_INDEX), at that step, once a run
//   FAKE_DIE_ALWAYS   not once a run but each time
//   FAKE_HOPELESS  says at once that the run cannot go on
//   FAKE_MUTE      never sends its address
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include "base/contract.h"
#include "base/ini.h"
#include "base/run_directory.h"
#include "recipes/recipe.h"
#include "trainer/agent/protocol.h"
#include "trainer/comm/shm_segment.h"

namespace {

using std::chrono::milliseconds;
using stint::agent::Channel;
namespace contract = stint::contract;

constexpr std::size_t kSharedBytes = 5000;

int number(const char* name, int fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::atoi(text);
}

std::int64_t saved_step(const stint::RunDirectory& run) {
  std::int64_t step = 0;
  std::ifstream(run.root / "fake-checkpoint") >> step;
  return step;
}

// True the first time in this run.
bool once(const stint::RunDirectory& run) {
  return std::filesystem::create_directory(run.root / "fake-died");
}

void misbehave(const stint::RunDirectory& run, std::int64_t step) {
  if (number("STINT_LOCAL_INDEX", 0) != number("FAKE_DIE_NODE", -1) || step != number("FAKE_DIE_STEP", 0))
    return;
  if (std::getenv("FAKE_DIE_ALWAYS") == nullptr && !once(run)) return;
  const int code = number("FAKE_DIE_EXIT", 0);
  if (code != 0) _exit(code);
  raise(SIGKILL);
}

// What the workers of a node share, held to the end.
std::optional<stint::comm::ShmSegment> shared_memory(const nlohmann::json& view) {
  if (!view.value("shared_memory", false)) return std::nullopt;
  auto segment = stint::comm::ShmSegment::adopt(stint::agent::kWorkerMemory);
  if (segment.shape().epoch != view.at("epoch") || segment.data(0).size() != kSharedBytes) _exit(4);
  return segment;
}

int train(Channel& channel, const stint::RunDirectory& run, const stint::recipes::Recipe& recipe,
          const nlohmann::json& view) {
  const int rank = view.at("rank").get<int>();
  const auto segment = shared_memory(view);
  std::int64_t step = saved_step(run);
  channel.send({{"type", "ready"},
                {"resume_step", step},
                {"parameters", 1},
                {"communication", segment ? "shm" : "none"}});
  while (step < recipe.run.steps) {
    const auto received = channel.receive(milliseconds(number("FAKE_STEP_MS", 20)));
    if (received.closed) return contract::kExitFailure;
    ++step;
    misbehave(run, step);
    channel.send({{"type", "step"},
                  {"step", step},
                  {"loss", 5.0 / static_cast<double>(step)},
                  {"tokens_per_second", 1000},
                  {"step_seconds", 0.02}});
    const bool stop = received.message && received.message->value("type", "") == "stop";
    if (rank == 0 && (stop || step % recipe.checkpoint.interval == 0 || step == recipe.run.steps)) {
      stint::write_file_atomically(run.root / "fake-checkpoint", std::to_string(step));
      channel.send({{"type", "checkpoint"}, {"step", step}, {"seconds", 0.01}, {"bytes", 8}});
    }
    if (stop) return contract::kExitRequeue;
  }
  channel.send({{"type", "finish"}, {"step", step}, {"loss", 0.1}});
  return contract::kExitFinished;
}

}  // namespace

int main(int argc, char** argv) {
  std::string recipe_path;
  stint::RunDirectory run;
  CLI::App app;
  app.add_option("--recipe", recipe_path)->required();
  app.add_option("--run-directory", run.root)->required();
  app.add_flag("--alone");
  CLI11_PARSE(app, argc, argv);
  const auto recipe =
      stint::recipes::parse_frozen(stint::read_file(recipe_path, contract::kMaxRecipeBytes), recipe_path);
  Channel channel(stint::agent::kWorkerChannel);
  if (std::getenv("FAKE_HOPELESS") != nullptr) {
    channel.send(
        {{"type", "error"}, {"what", "the fake BLAS is wrong"}, {"exit", contract::kExitDoNotRequeue}});
    return contract::kExitDoNotRequeue;
  }
  if (std::getenv("FAKE_MUTE") != nullptr) pause();
  channel.send({{"type", "address"}, {"address", "00"}, {"shared_bytes", kSharedBytes}});
  const auto received = channel.receive(milliseconds(30000));
  if (!received.message || received.message->value("type", "") != "view") return contract::kExitFailure;
  return train(channel, run, recipe, *received.message);
}
