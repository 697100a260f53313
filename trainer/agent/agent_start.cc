// SPDX-License-Identifier: Apache-2.0
// How an attempt begins: the agents meet, measure their distances where nobody knows them, start their
// workers and give them their view.
#include <fmt/chrono.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/contract.h"
#include "base/error.h"
#include "base/ini.h"
#include "base/log.h"
#include "trainer/agent/agent_worker.h"
#include "trainer/agent/topology_record.h"
#include "trainer/comm/shared_folder.h"

namespace stint::agent {

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
  if (!uses_gpus(recipe_, machine_, placement.machine)) {
    const std::string shortage =
        check_memory(recipe_, workers * static_cast<std::int64_t>(setup_.nodes.size()), comm::memory_rooms());
    if (!shortage.empty()) spdlog::warn("{}: {}", setup_.node, shortage);
  }
  comm::require_shared_folder(static_cast<int>(workers));
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
  if (setup_.nodes.size() == 1) command.arguments.emplace_back("--alone");
  if (uses_gpus(recipe_, machine_, placement.machine)) command.arguments.emplace_back("--gpu");
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

}  // namespace stint::agent
