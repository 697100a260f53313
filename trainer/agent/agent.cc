// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/agent.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <random>
#include <thread>

#include "base/contract.h"
#include "base/final_error.h"
#include "base/log.h"
#include "base/run_profile.h"
#include "trainer/agent/agent_worker.h"

namespace stint::agent {
namespace {

using std::chrono::milliseconds;

// While the others are awaited, the rendezvous folder is looked at this often.
constexpr milliseconds kLookInterval{10};
// After an orderly stop the last agent's outcome follows the first one's closely.
constexpr std::chrono::seconds kStopWait{10};
// Beyond the heartbeat time-out, until a worker's accusation must have shown as a silent agent.
constexpr milliseconds kSuspicionSlack{500};
constexpr milliseconds kProfileInterval{500};  // between two looks whether one is asked for

std::uint64_t random_nonce() {
  std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32) | device();
}

std::string text_of(const nlohmann::json& message, const char* key) {
  const auto found = message.find(key);
  return found != message.end() && found->is_string() ? found->get<std::string>() : std::string();
}

int integer_of(const nlohmann::json& message, const char* key, int fallback) {
  const auto found = message.find(key);
  return found != message.end() && found->is_number_integer() ? found->get<int>() : fallback;
}

}  // namespace

nlohmann::json to_json(const Outcome& outcome) {
  return {{"exit", outcome.exit_code}, {"why", outcome.why}, {"missing", outcome.missing}};
}

std::optional<Outcome> parse_outcome(const nlohmann::json& json) {
  if (!json.is_object() || !json.contains("exit") || !json["exit"].is_number_integer()) return std::nullopt;
  Outcome outcome{json["exit"].get<int>(), text_of(json, "why"), {}};
  if (json.contains("missing") && json["missing"].is_array()) {
    for (const auto& node : json["missing"]) {
      if (node.is_string()) outcome.missing.push_back(node.get<std::string>());
    }
  }
  return outcome;
}

bool is_echo(const Outcome& outcome) {
  return outcome.why.starts_with(kEchoStart);
}

Agent::Agent(Setup setup, recipes::Recipe recipe, RunDirectory run, std::filesystem::path worker_program)
    : setup_(std::move(setup)),
      recipe_(std::move(recipe)),
      run_(std::move(run)),
      worker_program_(std::move(worker_program)),
      rendezvous_(run_.rendezvous() / setup_.rendezvous_name(), setup_.nodes) {}

Agent::~Agent() {
  if (signals_ >= 0) close(signals_);
}

void Agent::die() noexcept {
  kill_all_workers();
  // Not 128 + 15: srun reports the highest code of its tasks, and another agent's 75 or 93 must win.
  _exit(contract::kExitFailure);
}

int Agent::run() {
  try {
    prepare();
    while (!outcome_) {
      loop_.turn(pace());
      advance();
    }
  } catch (const FinalError& error) {
    end(contract::kExitDoNotRequeue, error.what());
  } catch (const std::exception& error) {
    end(contract::kExitFailure, error.what());
  }
  return leave();
}

void Agent::prepare() {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR1);
  signals_ = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals_ < 0) fail("signalfd: {}", errno_text(errno));
  loop_.add(signals_, [this] {
    signalfd_siginfo info;
    if (read(signals_, &info, sizeof info) > 0) stop("SIGUSR1");
  });
  loop_.add(reporter_.descriptor(), [this] { take_verdict(); });
  machine_ = topology::read_machine();
  require_net_devices(machine_);
  const Identity self{setup_.node,
                      setup_.host,
                      setup_.topology,
                      setup_.topology_pattern,
                      local_addresses(),
                      socket_.port(),
                      random_nonce(),
                      probe_.port(),
                      topology::nvlink_domain_of(machine_),
                      machine_.cpu_model};
  rendezvous_.publish("agent", setup_.node, to_json(self));
}

milliseconds Agent::pace() const {
  const bool starting = phase_ != Phase::kTraining && phase_ != Phase::kJudging;
  return starting ? kLookInterval : std::min(recipe_.resilience.heartbeat_interval, milliseconds(500));
}

void Agent::advance() {
  if (outcome_) return;
  if (peers_) watch_peers();
  if (outcome_) return;
  switch (phase_) {
    case Phase::kGathering:
      return gather();
    case Phase::kMeasuring:
      return measure();
    case Phase::kConnecting:
      return connect();
    case Phase::kTraining:
      if (suspicion_ && Clock::now() > *suspicion_) return end(contract::kExitFailure, suspicion_why_);
      look_for_profile();
      return watch_segment();
    case Phase::kJudging:
      return judge();
  }
}

// ---- workers

void Agent::drain(Worker& worker) {
  while (worker.channel_open) {
    const auto received = worker.process.channel().receive(milliseconds(0));
    if (received.message) {
      take_message(worker, *received.message);
    } else if (!received.closed) {
      return;
    } else {
      worker.channel_open = false;
      loop_.remove(worker.process.channel().descriptor());
    }
  }
}

void Agent::take_message(Worker& worker, const nlohmann::json& message) {
  const std::string type = text_of(message, "type");
  if (type == "address") {
    worker.address = text_of(message, "address");
    const auto shared = message.find("shared_bytes");
    worker.shared_bytes =
        shared != message.end() && shared->is_number_unsigned() ? shared->get<std::size_t>() : 0;
  } else if (type == "peer_lost") {
    worker.accuses = true;
    suspicion_why_ =
        fmt::format("a worker lost rank {}: {}", integer_of(message, "rank", -1), text_of(message, "why"));
    spdlog::warn("{}: {}", setup_.node, suspicion_why_);
  } else if (type == "error") {
    worker.error = text_of(message, "what");
    note_error(worker.error);
  } else if (recorder_ && worker.local == 0) {
    recorder_->note(message);
    if (segment_watch_) segment_watch_->note(type, message);
  }
}

// On a full disk the outcome must do; it says the same.
void Agent::note_error(const std::string& what) {
  try {
    append_event(run_, "error", {{"node", setup_.node}, {"what", what}});
  } catch (const Error& error) {
    spdlog::debug("{}: {}", setup_.node, error.what());
  }
}

void Agent::worker_ended(Worker& worker) {
  drain(worker);
  worker.status = worker.process.ended();
  if (!worker.status) return;
  loop_.remove(worker.process.descriptor());
  memory_->declare_dead(worker.local);
  const int status = *worker.status;
  if (status == contract::kExitDoNotRequeue) {
    end(status, worker.error.empty() ? "a worker says that the run cannot go on" : worker.error);
  } else if (status == contract::kExitFinished || status == contract::kExitRequeue) {
    all_workers_ended();
  } else {
    worker_failed(worker, status);
  }
}

void Agent::all_workers_ended() {
  bool stopped = false;
  for (const auto& worker : workers_) {
    if (!worker->status) return;
    stopped = stopped || *worker->status == contract::kExitRequeue;
  }
  end(stopped ? contract::kExitRequeue : contract::kExitFinished,
      stopped ? "stopped on purpose" : "finished");
}

void Agent::worker_failed(Worker& worker, int status) {
  if (phase_ == Phase::kJudging) return;
  if (worker.accuses && phase_ == Phase::kTraining) {
    if (!suspicion_) suspicion_ = Clock::now() + recipe_.resilience.heartbeat_timeout + kSuspicionSlack;
    return;
  }
  const std::string why = worker.error.empty() ? describe_exit(status) : worker.error;
  append_event(run_, "worker_lost", {{"node", setup_.node}, {"why", why}});
  end(contract::kExitFailure, fmt::format("a worker is gone: {}", why));
}

void Agent::kill_workers() {
  for (const auto& worker : workers_) {
    if (worker->channel_open) loop_.remove(worker->process.channel().descriptor());
    loop_.remove(worker->process.descriptor());
  }
  workers_.clear();
}

// ---- the segment of the plan, and profiles

void Agent::begin_segment_watch() {
  if (setup_.plan.empty()) return;
  const auto& checkpoint = recipe_.checkpoint;
  segment_watch_.emplace(
      SegmentWatch::Job{setup_.service_address, setup_.job, setup_.plan},
      EndLead::Limits{checkpoint.end_lead_min, checkpoint.end_lead_max, checkpoint.end_lead_safety},
      read_log(run_));
  loop_.add(segment_watch_->descriptor(), [] {});  // read on every turn; this only wakes the loop
}

void Agent::watch_segment() {
  if (!segment_watch_ || stopping_) return;
  const auto closing = segment_watch_->turn(SegmentWatch::Clock::now());
  if (!closing) return;
  auto event = to_event(*closing, setup_.job, setup_.restart, recorder_->step());
  event["lead_seconds"] = std::chrono::duration<double>(segment_watch_->lead()).count();
  append_event(run_, "segment_end", event);
  stop(describe(*closing));
}

// `stint run profile` asks rank 0, which tells the others.
void Agent::look_for_profile() {
  if (!recorder_ || Clock::now() - profile_looked_ < kProfileInterval) return;
  profile_looked_ = Clock::now();
  const auto request = take_profile_request(run_);
  if (!request) return;
  append_event(run_, "profile",
               {{"id", request->id},
                {"steps", request->steps},
                {"detail", fmt::format("{} steps from step {} on", request->steps, recorder_->step() + 1)}});
  for (const auto& worker : workers_)
    if (worker->local == 0)
      worker->process.channel().send({{"type", "profile"}, {"id", request->id}, {"steps", request->steps}});
}

// ---- ends

void Agent::stop(const std::string& why) {
  if (stopping_ || phase_ == Phase::kJudging) return;
  stopping_ = true;
  if (phase_ != Phase::kTraining) return end(contract::kExitRequeue, "asked to stop: " + why);
  if (recorder_) append_event(run_, "stopping", {{"why", why}, {"step", recorder_->step()}});
  for (const auto& worker : workers_) worker->process.channel().send({{"type", "stop"}, {"why", why}});
}

bool Agent::hosts_rank_zero() const {
  return view_ && view_->order.front() == setup_.index;
}

void Agent::end(int exit_code, const std::string& why) {
  if (outcome_) return;
  outcome_ = Outcome{exit_code, why, {}};
  if (phase_ == Phase::kJudging) {
    for (const std::size_t node : judging_.nodes) outcome_->missing.push_back(node_name(node));
  }
}

// The supervisor tells an outcome once for all agents; without one, or where it cannot be told, one agent
// says it here. An echo of another's end is not worth a line: that one has said it.
void Agent::publish_outcome() {
  const bool published = put_outcome();
  if (outcome_->exit_code == contract::kExitFinished || is_echo(*outcome_)) return;
  if (published && (setup_.supervised || !rendezvous_.claim("told"))) return;
  std::fprintf(stderr, "stint: %s (exit code %d)\n", outcome_->why.c_str(), outcome_->exit_code);
}

// On a full disk the place of the files that brought the agents together must do.
bool Agent::put_outcome() {
  for (const char* dispensable : {"", "workers", "pairs", "agent"}) {
    if (*dispensable != '\0') rendezvous_.withdraw(dispensable, setup_.node);
    try {
      rendezvous_.publish("outcome", setup_.node, to_json(*outcome_));
      return true;
    } catch (const FinalError&) {
      continue;
    } catch (const Error& error) {
      spdlog::warn("{}: {}", setup_.node, error.what());
      return false;
    }
  }
  return false;
}

int Agent::leave() {
  kill_workers();
  publish_outcome();
  if (peers_) peers_->leave(outcome_->exit_code);
  if (outcome_->exit_code == contract::kExitRequeue && phase_ == Phase::kTraining) wait_for_others();
  return outcome_->exit_code;
}

// To srun any code but 0 is bad: the first agent that leaves with 75 has the others killed. So nobody leaves
// before all have saved, logged and said so.
void Agent::wait_for_others() {
  const auto deadline = Clock::now() + kStopWait;
  for (rendezvous_.look(); !rendezvous_.complete("outcome") && Clock::now() < deadline; rendezvous_.look()) {
    std::this_thread::sleep_for(kLookInterval);
  }
}

}  // namespace stint::agent
