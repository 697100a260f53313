// SPDX-License-Identifier: Apache-2.0
// The agent: one on each node of a step. Meets the others through files, starts this node's workers, gives
// them their view, and from then on watches: its workers through pidfds, the other agents through heartbeats.
// It decides how this node's part of the attempt ends; who starts the next attempt is not its business.
//
// How an attempt ends: all workers finished -> 0; asked to stop -> 75; a worker says the recipe cannot work
// -> 93; a worker died -> 1, and the others follow; an agent fell silent -> stintd is asked: node down ->
// wait for Slurm's SIGTERM; healthy or not known -> 1.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/run_directory.h"
#include "recipes/recipe.h"
#include "trainer/agent/event_loop.h"
#include "trainer/agent/failure_report.h"
#include "trainer/agent/node_memory.h"
#include "trainer/agent/pair_probe.h"
#include "trainer/agent/peers.h"
#include "trainer/agent/placement.h"
#include "trainer/agent/recorder.h"
#include "trainer/agent/rendezvous.h"
#include "trainer/agent/segment_watch.h"
#include "trainer/agent/setup.h"
#include "trainer/agent/view.h"
#include "trainer/agent/worker_process.h"

namespace stint::agent {

// How an agent's part of an attempt ended: kind "outcome" of the rendezvous.
struct Outcome {
  int exit_code = 0;
  std::string why;
  std::vector<std::string> missing;  // nodes whose agents fell silent or never came
};
nlohmann::json to_json(const Outcome& outcome);
// Ended only because another agent had; that one said why.
bool is_echo(const Outcome& outcome);
inline constexpr std::string_view kEchoStart = "the agent of ";  // how such a `why` begins
std::optional<Outcome> parse_outcome(const nlohmann::json& json);

class Agent {
 public:
  Agent(Setup setup, recipes::Recipe recipe, RunDirectory run, std::filesystem::path worker_program);
  ~Agent();

  // To the end of the attempt; returns the exit code. SIGUSR1 must be blocked (it asks to stop). Throws Error
  // when the agent itself cannot work; the others have been told then.
  int run();

  // Kills the workers and leaves this process at once: Slurm's requeue waits for it. Async-signal-safe.
  [[noreturn]] static void die() noexcept;

  // Whether this agent keeps the run's log; known once there is a view.
  bool hosts_rank_zero() const;

 private:
  using Clock = std::chrono::steady_clock;
  enum class Phase { kGathering, kMeasuring, kConnecting, kTraining, kJudging };
  struct Worker;

  void prepare();
  void advance();
  std::chrono::milliseconds pace() const;

  // The start.
  void gather();
  void meet_peers();
  void measure();
  void start_workers();
  WorkerCommand command_for(const Placement& placement, int local) const;
  void connect();
  bool publish_workers();
  void send_view();
  void record_topology();
  void miss(const std::vector<std::string>& nodes);

  // Workers.
  void drain(Worker& worker);
  void take_message(Worker& worker, const nlohmann::json& message);
  void worker_ended(Worker& worker);
  void worker_failed(Worker& worker, int status);
  void note_error(const std::string& what);
  void all_workers_ended();
  void kill_workers();

  // The segment of the plan.
  void begin_segment_watch();
  void watch_segment();
  void look_for_profile();

  // Peers.
  void watch_peers();
  void peer_left(std::size_t node, int exit_code);
  void peers_silent(const std::vector<std::size_t>& nodes);
  void judge_missing(std::vector<std::size_t> nodes, std::string why, int fallback);
  void judge();
  bool first_survivor() const;
  void take_verdict();

  // Ends.
  void stop(const std::string& why);
  void end(int exit_code, const std::string& why);
  void publish_outcome();
  bool put_outcome();
  int leave();
  void wait_for_others();

  std::string node_name(std::size_t node) const { return setup_.nodes[node]; }

  Setup setup_;
  recipes::Recipe recipe_;
  RunDirectory run_;
  std::filesystem::path worker_program_;
  Clock::time_point began_ = Clock::now();

  EventLoop loop_;
  BeatSocket socket_;
  Rendezvous rendezvous_;
  FailureReporter reporter_;
  int signals_ = -1;

  Phase phase_ = Phase::kGathering;
  std::vector<Identity> identities_;
  topology::Machine machine_;
  PairProbe probe_;
  bool published_pairs_ = false;
  topology::RoundTrips round_trips_;  // empty: not measured
  nlohmann::json description_;        // of this node
  Layout layout_;                     // once all agents are here
  std::optional<Peers> peers_;
  std::optional<View> view_;
  std::optional<NodeMemory> memory_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::optional<Recorder> recorder_;
  std::optional<SegmentWatch> segment_watch_;  // of the agent with the recorder, in a plan
  Clock::time_point profile_looked_{};
  bool published_workers_ = false;
  bool stopping_ = false;

  struct Judging {
    std::vector<std::size_t> nodes;     // lost or missing
    std::vector<std::size_t> reported;  // of them
    std::string why;
    int fallback = 1;
    Clock::time_point deadline;
    bool down = false;  // stintd says so: Slurm's SIGTERM must come before the deadline
  };
  Judging judging_;
  std::optional<Clock::time_point> suspicion_;  // a worker accuses a peer; its agent should show by then
  std::string suspicion_why_;
  std::optional<Outcome> outcome_;
};

}  // namespace stint::agent
