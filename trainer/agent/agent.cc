// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/agent.h"

#include <fmt/chrono.h>
#include <fmt/ranges.h>
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
#include "base/ini.h"
#include "base/log.h"
#include "trainer/agent/topology_record.h"

namespace stint::agent {
namespace {

using std::chrono::milliseconds;

// While the others are awaited, the rendezvous folder is looked at this often.
constexpr milliseconds kLookInterval{10};
// After stintd said "down", Slurm's SIGTERM should be here at once; this bounds a Slurm that hangs.
constexpr std::chrono::seconds kTermWait{30};
// How long the survivors that do not report wait for the one that does.
constexpr std::chrono::seconds kJudgeWait{60};
// After an orderly stop the last agent's outcome follows the first one's closely.
constexpr std::chrono::seconds kStopWait{10};
// Beyond the heartbeat time-out, until a worker's accusation must have shown as a silent agent.
constexpr milliseconds kSuspicionSlack{500};

constexpr std::string_view kEchoStart = "the agent of ";

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

bool contains(const std::vector<std::size_t>& list, std::size_t value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

}  // namespace

struct Agent::Worker {
  explicit Worker(const WorkerCommand& command) : process(command) {}
  WorkerProcess process;
  int local = 0;
  std::string address;
  std::size_t shared_bytes = 0;
  bool channel_open = true;
  bool accuses = false;  // reported a lost peer: its own end is a consequence
  std::string error;
  std::optional<int> status;
};

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
      return watch_segment();
    case Phase::kJudging:
      return judge();
  }
}

// ---- the start

void Agent::gather() {
  rendezvous_.look();
  const auto missing = rendezvous_.missing("agent");
  if (!missing.empty()) {
    if (Clock::now() - began_ > recipe_.resilience.startup_timeout) miss(missing);
    return;
  }
  meet_peers();
  if (!wants_measuring(identities_, recipe_)) return start_workers();
  phase_ = Phase::kMeasuring;
  probe_.begin(identities_, setup_.index, topology::landmarks(identities_.size()), Clock::now());
  loop_.add(probe_.descriptor(), [this] { probe_.turn(Clock::now()); });
}

void Agent::measure() {
  probe_.turn(Clock::now());
  if (!probe_.done()) return;
  if (!published_pairs_)
    rendezvous_.publish("pairs", setup_.node, {{"round_trips_us", probe_.round_trips()}});
  published_pairs_ = true;
  rendezvous_.look();
  const auto missing = rendezvous_.missing("pairs");
  if (!missing.empty()) {
    if (Clock::now() - began_ > recipe_.resilience.startup_timeout) miss(missing);
    return;
  }
  for (const auto& node : setup_.nodes) {
    auto row = rendezvous_.find("pairs", node)->value("round_trips_us", std::vector<double>());
    row.resize(setup_.nodes.size());
    round_trips_.push_back(std::move(row));
  }
  loop_.remove(probe_.descriptor());  // all have asked
  start_workers();
}

void Agent::meet_peers() {
  for (const auto& node : setup_.nodes) {
    Identity identity = parse_identity(*rendezvous_.find("agent", node));
    identities_.push_back(std::move(identity));
  }
  const HeartbeatTimes times{recipe_.resilience.heartbeat_interval, recipe_.resilience.heartbeat_timeout,
                             recipe_.resilience.startup_timeout};
  peers_.emplace(socket_, identities_, setup_.index, setup_.epoch(), times, Clock::now());
  loop_.add(socket_.descriptor(), [] {});  // read on every turn; this only wakes the loop
}

void Agent::start_workers() {
  phase_ = Phase::kConnecting;
  layout_ = lay_out(identities_, round_trips_);
  const Placement placement = place(identities_, setup_.index, machine_, recipe_, layout_);
  description_ = describe(machine_, placement.machine);
  for (const std::string& note : placement.notes) spdlog::info("{}: {}", setup_.node, note);
  const std::int64_t workers = recipe_.resources.workers_per_node;
  const std::string shortage =
      check_memory(recipe_, workers * static_cast<std::int64_t>(setup_.nodes.size()), comm::memory_rooms());
  if (!shortage.empty()) spdlog::warn("{}: {}", setup_.node, shortage);
  memory_.emplace(static_cast<int>(workers));
  for (int local = 0; local < workers; ++local) {
    workers_.push_back(std::make_unique<Worker>(command_for(placement, local)));
    Worker& worker = *workers_.back();
    worker.local = local;
    loop_.add(worker.process.channel().descriptor(), [this, &worker] { drain(worker); });
    loop_.add(worker.process.descriptor(), [this, &worker] { worker_ended(worker); });
  }
}

WorkerCommand Agent::command_for(const Placement& placement, int local) const {
  WorkerCommand command;
  command.program = worker_program_;
  command.arguments = {"--recipe", run_.recipe(), "--run-directory", run_.root};
  bind_worker(command, machine_, placement.machine, local);
  command.memory = memory_->descriptor();
  return command;
}

// False until all have said their addresses and needs.
bool Agent::publish_workers() {
  std::vector<std::string> addresses;
  std::size_t shared_bytes = 0;
  for (const auto& worker : workers_) {
    if (worker->address.empty()) return false;
    addresses.push_back(worker->address);
    shared_bytes = std::max(shared_bytes, worker->shared_bytes);
  }
  memory_->lay_out(setup_.epoch(), shared_bytes);
  rendezvous_.publish("workers", setup_.node, {{"addresses", addresses}, {"machine", description_}});
  return true;
}

void Agent::connect() {
  if (!published_workers_) published_workers_ = publish_workers();
  rendezvous_.look();
  const auto missing = rendezvous_.missing("workers");
  if (missing.empty()) return send_view();
  if (Clock::now() - began_ <= recipe_.resilience.startup_timeout) return;
  end(contract::kExitFailure,
      fmt::format("the workers of {} did not start within {}; see their messages, or raise "
                  "resilience.startup_timeout",
                  fmt::join(missing, ", "), recipe_.resilience.startup_timeout));
}

void Agent::send_view() {
  std::vector<std::vector<std::string>> addresses;
  for (const auto& node : setup_.nodes) {
    addresses.push_back(rendezvous_.find("workers", node)->value("addresses", std::vector<std::string>()));
  }
  view_ = make_view(setup_.epoch(), layout_.order, addresses);
  phase_ = Phase::kTraining;
  if (hosts_rank_zero()) {
    record_topology();
    std::vector<std::string> ordered;
    for (const std::size_t node : layout_.order) ordered.push_back(node_name(node));
    recorder_.emplace(run_, nlohmann::json{{"job", setup_.job},
                                           {"restart", setup_.restart},
                                           {"attempt", setup_.attempt},
                                           {"world", view_->ranks.size()},
                                           {"nodes", setup_.nodes},
                                           {"order", ordered},
                                           {"steps", recipe_.run.steps},
                                           {"recipe", recipe_.name},
                                           {"plan", setup_.plan}});
    begin_segment_watch();
  }
  for (const auto& worker : workers_) {
    auto message = view_->message_for(view_->ranks.rank_of({setup_.index, worker->local}));
    message["shared_memory"] = memory_->is_laid_out();
    worker->process.channel().send(message);
  }
}

// It helps people alone: without it the run goes on.
void Agent::record_topology() {
  TopologyFacts facts{{{"job", setup_.job},
                       {"restart", setup_.restart},
                       {"attempt", setup_.attempt},
                       {"recipe", recipe_.name}},
                      identities_,
                      layout_,
                      view_->ranks,
                      static_cast<int>(recipes::shard_degree(recipe_, view_->ranks.size())),
                      {},
                      round_trips_};
  for (const auto& node : setup_.nodes)
    facts.machines.push_back(rendezvous_.find("workers", node)->value("machine", nlohmann::json()));
  auto record = topology_record(facts);
  for (const std::string& note : missing_devices(record, read_topology(run_))) {
    spdlog::warn("{}", note);
    record["notes"].push_back(note);
  }
  try {
    write_file_atomically(run_.topology(), record.dump(1) + "\n");
  } catch (const Error& error) {
    spdlog::warn("{}: {}", setup_.node, error.what());
  }
}

void Agent::miss(const std::vector<std::string>& nodes) {
  const std::string why = fmt::format("no agent came from {} within {}", fmt::join(nodes, ", "),
                                      recipe_.resilience.startup_timeout);
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < setup_.nodes.size(); ++i) {
    if (std::find(nodes.begin(), nodes.end(), setup_.nodes[i]) != nodes.end()) indices.push_back(i);
  }
  judge_missing(std::move(indices), why, contract::kExitRequeue);
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

// ---- the segment of the plan

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

// ---- peers

void Agent::watch_peers() {
  const auto now = Clock::now();
  const Peers::News news = peers_->read(now);
  for (const auto& left : news.left) peer_left(left.node, left.exit_code);
  if (outcome_) return;
  if (news.stop_asked) stop("another agent was asked to");
  const auto silent = peers_->turn(stopping_ ? BeatState::kStopping : BeatState::kAlive, now);
  if (!silent.empty()) peers_silent(silent);
}

void Agent::peer_left(std::size_t node, int exit_code) {
  peers_->depart(node);
  const bool in_order = exit_code == contract::kExitFinished || exit_code == contract::kExitRequeue;
  if (in_order && phase_ == Phase::kTraining) return;
  const int code = exit_code == contract::kExitFinished ? contract::kExitFailure : exit_code;
  end(code, fmt::format("{}{} left with exit code {}", kEchoStart, node_name(node), exit_code));
}

// The last words of an agent may have been lost on the way; its outcome in the rendezvous is not.
void Agent::peers_silent(const std::vector<std::size_t>& nodes) {
  rendezvous_.look();
  std::vector<std::size_t> lost;
  for (const std::size_t node : nodes) {
    const auto* published = rendezvous_.find("outcome", node_name(node));
    const auto outcome = published == nullptr ? std::nullopt : parse_outcome(*published);
    if (outcome) {
      peer_left(node, outcome->exit_code);
    } else {
      lost.push_back(node);
      peers_->depart(node);
    }
  }
  if (lost.empty() || outcome_) return;
  judge_missing(
      std::move(lost),
      fmt::format("no heartbeat for {}", std::chrono::duration<double>(recipe_.resilience.heartbeat_timeout)),
      contract::kExitFailure);
}

void Agent::judge_missing(std::vector<std::size_t> nodes, std::string why, int fallback) {
  kill_workers();
  if (phase_ != Phase::kJudging) {
    judging_.deadline = Clock::now() + kJudgeWait;
    judging_.fallback = fallback;
    judging_.why = std::move(why);
  }
  phase_ = Phase::kJudging;
  judging_.nodes.insert(judging_.nodes.end(), nodes.begin(), nodes.end());
  for (const std::size_t node : nodes)
    spdlog::warn("{}: lost {}: {}", setup_.node, node_name(node), judging_.why);
}

bool Agent::first_survivor() const {
  for (std::size_t p = 0; p < setup_.nodes.size(); ++p) {
    const std::size_t node = layout_.order.empty() ? p : layout_.order[p];
    if (node == setup_.index) return true;
    if (!contains(judging_.nodes, node) && !(peers_ && peers_->departed(node))) return false;
  }
  return true;
}

// One survivor speaks for all. Should it die meanwhile, its own silence makes the next one first.
void Agent::judge() {
  if (Clock::now() > judging_.deadline) {
    return end(judging_.down ? contract::kExitRequeue : judging_.fallback, judging_.why);
  }
  if (!first_survivor() || reporter_.under_way()) return;
  FailureReport report{setup_.service_address, setup_.job, {}, judging_.why};
  for (const std::size_t node : judging_.nodes) {
    if (contains(judging_.reported, node)) continue;
    append_event(run_, "peer_lost",
                 {{"node", node_name(node)}, {"why", judging_.why}, {"from", setup_.node}});
    report.nodes.push_back(node_name(node));
    judging_.reported.push_back(node);
  }
  if (report.nodes.empty()) return;
  if (report.address.empty()) return end(judging_.fallback, judging_.why + "; there is no stintd to ask");
  reporter_.start(std::move(report));
}

void Agent::take_verdict() {
  const auto answer = reporter_.take();
  if (!answer || outcome_) return;
  spdlog::info("{}: {}", setup_.node, answer->detail);
  if (answer->verdict == Verdict::kDown) {
    judging_.down = true;
    judging_.deadline = Clock::now() + kTermWait;
  } else if (!judging_.down) {
    end(judging_.fallback, fmt::format("{}; {}", judging_.why, answer->detail));
  }
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
