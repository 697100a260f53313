// SPDX-License-Identifier: Apache-2.0
// stint-worker: the mathematics of one rank. A child of stint-train, which gives it the frozen recipe, a
// channel at descriptor 3 and, over that, its place among the other workers.
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <thread>

#include "base/contract.h"
#include "base/ini.h"
#include "base/log.h"
#include "base/run_directory.h"
#include "base/run_profile.h"
#include "base/text.h"
#include "recipes/estimate.h"
#include "recipes/recipe.h"
#include "trainer/agent/protocol.h"
#include "trainer/comm/locked_memory.h"
#include "trainer/engine/blas.h"
#include "trainer/engine/choose_ways.h"
#include "trainer/engine/connection.h"
#include "trainer/engine/engine.h"
#include "trainer/engine/exchange.h"
#include "trainer/engine/gpu.h"
#include "trainer/engine/speed.h"
#include "trainer/engine/step_meter.h"
#include "trainer/engine/tensorboard.h"
#include "trainer/model/kernels/kernels.h"

namespace stint::engine {
namespace {

using agent::Channel;
using nlohmann::json;

// Leaves without destructors: a peer or the agent is gone, and nothing here is worth another millisecond.
[[noreturn]] void leave_at_once(int code) {
  std::fflush(nullptr);
  _exit(code);
}

struct Arguments {
  std::string recipe;
  RunDirectory run;
  bool alone = false;
  bool gpu = false;
};

// The agent's messages after the view, taken by a thread of its own: a stop is seen at the next step, a
// closed channel ends the process even inside a collective.
class Mailbox {
 public:
  explicit Mailbox(Channel& channel)
      : thread_([this, &channel](std::stop_token token) { listen(channel, token); }) {}
  bool wants_stop() const { return stop_.load(std::memory_order_relaxed); }
  // Once; a later wish takes the place of an earlier one.
  std::optional<ProfileRequest> take_profile() {
    if (!has_profile_.exchange(false, std::memory_order_relaxed)) return std::nullopt;
    const std::lock_guard lock(mutex_);
    return profile_;
  }

 private:
  void listen(Channel& channel, const std::stop_token& token) {
    try {
      while (!token.stop_requested()) {
        const auto received = channel.receive(std::chrono::milliseconds(100));
        if (received.closed) leave_at_once(contract::kExitFailure);
        if (received.message) take(*received.message);
      }
    } catch (const std::exception& error) {
      spdlog::error("agent channel: {}", error.what());
      leave_at_once(contract::kExitFailure);
    }
  }

  void take(const json& message) {
    const std::string type = message.value("type", "");
    if (type == "stop") stop_ = true;
    if (type != "profile") return;
    const std::lock_guard lock(mutex_);
    profile_ = {message.at("id").get<std::int64_t>(), message.at("steps").get<std::int64_t>()};
    has_profile_ = true;
  }

  std::atomic<bool> stop_ = false, has_profile_ = false;
  std::mutex mutex_;
  ProfileRequest profile_;
  std::jthread thread_;
};

std::string text_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& what) {
    return what.what();
  }
}

// The agent's word, which it also bound us by; else the recipe's; else the cores we may use.
int thread_count(const recipes::Recipe& recipe) {
  const char* told = std::getenv("OMP_NUM_THREADS");
  if (told != nullptr && *told != '\0') return static_cast<int>(parse_integer(told, 1, 4096));
  if (recipe.resources.threads_per_worker > 0) return static_cast<int>(recipe.resources.threads_per_worker);
  cpu_set_t cores;
  return sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 1;
}

class Worker {
 public:
  Worker(const Arguments& arguments, Channel& channel) : arguments_(arguments), channel_(channel) {}

  int run();

 private:
  json start_mathematics();
  double own_peak() const;
  model::Operand own_operand() const { return model::operand_of(model::config_of(recipe_), device_.get()); }
  comm::Status connect_gpus(Connection& connection, std::unique_ptr<DataPath>& path) const;
  comm::Status take_peak(comm::Communicator& communicator, double own, json& facts);
  std::optional<View> wait_for_view();
  Connection join(std::unique_ptr<comm::UcxTransport> transport, const View& view);
  int train(Engine& engine, const Connection& connection, const json& facts);
  void report_step(const json& event);
  void tell_overflow(const StepReport& report);
  void write_weights(Engine& engine);
  template <typename Body>
  void for_tensorboard(Body&& body);
  void deliver(const std::optional<Engine::Trace>& trace) const;
  void save(Engine& engine, bool due, bool last);
  [[noreturn]] void lose_peer(const comm::Status& status);
  void tell(const json& message) {
    if (!channel_.send(message)) leave_at_once(contract::kExitFailure);
  }

  const Arguments& arguments_;
  Channel& channel_;
  recipes::Recipe recipe_;
  ChosenDevice device_;
  double peak_ = 0;                    // FLOP/s of all workers
  std::optional<EventWriter> events_;  // rank 0
  bool first_ = false;                 // rank 0
};

// What the run is made of (recipe, BLAS, data, checkpoints) is checked before the first step; a fault there
// would meet every further attempt too.
template <typename Body>
auto without_retry(Body&& body) {
  try {
    return body();
  } catch (const std::exception& error) {
    throw FinalError(error.what());
  }
}

int Worker::run() {
  json facts = without_retry([&] {
    recipe_ =
        recipes::parse_frozen(read_file(arguments_.recipe, contract::kMaxRecipeBytes), arguments_.recipe);
    return start_mathematics();
  });
  device_ = choose_device(recipe_.resources.device, arguments_.gpu);
  facts["kernels"] = device_.get().kernels(own_operand()).name;
  const std::size_t shared_bytes = without_retry([&] {
    const std::size_t bytes = device_.gpu ? 0 : Engine::shared_bytes(recipe_);
    comm::require_locked_memory(bytes);
    return bytes;
  });
  comm::give_crash_signals_back();  // libucs is loaded, used or not
  auto transport = arguments_.alone ? nullptr : std::make_unique<comm::UcxTransport>();
  const std::string address = transport ? transport->address() : kNoAddress;
  tell({{"type", "address"}, {"address", to_hex(address)}, {"shared_bytes", shared_bytes}});
  const double peak = own_peak();  // while others start
  const auto view = wait_for_view();
  if (!view) return contract::kExitRequeue;
  Connection connection = join(std::move(transport), *view);
  if (auto status = take_peak(*connection.communicator, peak, facts); !status) lose_peer(status);
  std::unique_ptr<DataPath> path;
  auto status = device_.gpu ? connect_gpus(connection, path) : choose_ways(connection, arguments_.run);
  if (!status) lose_peer(status);
  facts["communication"] = connection.kind;

  std::optional<Engine> engine;
  status = without_retry([&] {
    engine.emplace(recipe_, arguments_.run, *connection.communicator, facts, device_.get(), std::move(path));
    return engine->start();
  });
  if (!status) lose_peer(status);
  for (const auto& warning : engine->warnings()) spdlog::warn("{}", warning);
  return train(*engine, connection, facts);
}

Connection Worker::join(std::unique_ptr<comm::UcxTransport> transport, const View& view) {
  Connection connection =
      connect(std::move(transport), view, agent::kWorkerMemory, recipe_.resilience.collective_timeout);
  if (view.rank == 0 && !connection.note.empty())
    spdlog::info("communication: {}: {}", connection.kind, connection.note);
  if (view.rank == 0 && !device_.note.empty()) spdlog::warn("device: {}", device_.note);
  return connection;
}

// The agents' network goes on carrying what is no gradient or parameter.
comm::Status Worker::connect_gpus(Connection& connection, std::unique_ptr<DataPath>& path) const {
  if (connection.communicator->size() == 1) return {};
  GpuOptions options;
  options.on_stuck = [](const comm::Status& status) {
    spdlog::error("nccl: {}", status.detail);
    leave_at_once(contract::kExitFailure);
  };
  connection.kind = "nccl";
  return engine::connect_gpus(*connection.communicator, recipe_, device_.get(), options, path);
}

json Worker::start_mathematics() {
  const int threads = thread_count(recipe_);
  const Blas blas = require_blas(threads);
  model::start_mathematics(threads);
  return {{"threads", threads},
          {"blas", {{"kernel", blas.kernel}, {"config", blas.config}, {"file", blas.file}}}};
}

double Worker::own_peak() const {
  if (recipe_.resources.worker_tflops > 0) return recipe_.resources.worker_tflops * 1e12;
  return product_speed(device_.get(), own_operand(), thread_count(recipe_));
}

comm::Status Worker::take_peak(comm::Communicator& communicator, double own, json& facts) {
  struct Peak {
    double flops;
    std::int32_t operand, gpu;
  };
  std::vector<Peak> all(static_cast<std::size_t>(communicator.size()));
  all[static_cast<std::size_t>(communicator.rank())] = {own, static_cast<std::int32_t>(own_operand()),
                                                        device_.gpu ? 1 : 0};
  if (auto status = exchange(communicator, all); !status) return status;
  peak_ = 0;
  std::vector<model::Operand> operands;
  std::vector<bool> gpus;
  for (const Peak& peak : all) {
    peak_ += peak.flops;
    gpus.push_back(peak.gpu != 0);
    operands.push_back(static_cast<model::Operand>(peak.operand));
  }
  require_equal_devices(gpus);
  require_equal_operands(operands);
  facts["peak"] = {{"tflops", peak_ / 1e12},
                   {"source", recipe_.resources.worker_tflops > 0 ? "recipe" : "measured"}};
  return {};
}

// Nothing when the agent wants us to stop before there is a view.
std::optional<View> Worker::wait_for_view() {
  const auto received = channel_.receive(recipe_.resilience.startup_timeout);
  if (received.closed) leave_at_once(contract::kExitFailure);
  if (!received.message)
    fail("view: the agent sent none within {} s (resilience.startup_timeout)",
         recipe_.resilience.startup_timeout.count());
  const json& message = *received.message;
  if (message.value("type", "") == "stop") return std::nullopt;
  if (message.value("type", "") != "view")
    fail("view: the agent sent '{}' instead", message.value("type", ""));
  return parse_view(message);
}

int Worker::train(Engine& engine, const Connection& connection, const json& facts) {
  comm::Communicator& communicator = *connection.communicator;
  first_ = communicator.rank() == 0;
  if (first_ && recipe_.run.tensorboard)
    for_tensorboard([&] { events_.emplace(arguments_.run.root, engine.current_step()); });
  const auto begin = std::chrono::steady_clock::now();
  tell({{"type", "ready"},
        {"resume_step", engine.current_step()},
        {"parameters", engine.parameter_count()},
        {"communication", connection.kind},
        {"peak", facts.at("peak")}});
  StepMeter meter({static_cast<double>(recipe_.data.global_batch_size * recipe_.data.sequence_length),
                   recipes::estimate(recipe_).flops_per_token, peak_});
  Mailbox mailbox(channel_);

  bool stopped = false;
  while (!engine.finished() && !stopped) {
    deliver(engine.take_trace());
    if (!engine.has_trace())
      if (const auto wish = mailbox.take_profile()) engine.ask_for_trace(wish->id, wish->steps);
    StepReport report;
    if (auto status = engine.step(mailbox.wants_stop(), report); !status) lose_peer(status);
    meter.add(report);
    stopped = report.stop;
    if (report.overflow)
      tell_overflow(report);
    else if (report.step % recipe_.run.log_interval == 0 || engine.finished() || stopped)
      report_step(meter.event(report));
    const bool due =
        !report.overflow && recipe_.checkpoint.interval > 0 && report.step % recipe_.checkpoint.interval == 0;
    save(engine, due, stopped || engine.finished());
  }
  deliver(engine.take_trace(true));
  if (engine.finished()) write_weights(engine);
  // Nobody leaves before the last checkpoint is safe.
  if (auto status = engine.barrier(); !status) lose_peer(status);
  if (!engine.finished()) return contract::kExitRequeue;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  tell({{"type", "finish"},
        {"step", engine.current_step()},
        {"loss", engine.last_loss()},
        {"seconds", seconds.count()}});
  return contract::kExitFinished;
}

void Worker::report_step(const json& event) {
  tell(event);
  if (!events_) return;
  std::vector<std::pair<std::string, double>> scalars;
  for (const char* name : {"loss", "grad_norm", "learning_rate", "tokens_per_second", "mfu",
                           "communication_share", "data_share", "peak_memory_bytes"})
    scalars.emplace_back(name, event.at(name));
  for_tensorboard([&] { events_->scalars(event.at("step"), scalars); });
}

void Worker::tell_overflow(const StepReport& report) {
  tell(
      {{"type", "overflow"},
       {"step", report.step},
       {"loss_scale", report.loss_scale},
       {"detail", fmt::format("step {} overflowed fp16 at loss scale {} and is done again with a smaller one",
                              report.step, report.loss_scale)}});
}

// The last checkpoint has them all the same, so that this is no reason to fail.
void Worker::write_weights(Engine& engine) {
  std::string problem;
  if (auto status = engine.write_weights(arguments_.run.weights(), problem); !status) lose_peer(status);
  if (!problem.empty()) spdlog::warn("weights: {}; the last checkpoint has them", problem);
}

// A full disk for charts is no reason to stop training.
template <typename Body>
void Worker::for_tensorboard(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    spdlog::warn("{}; the run goes on without TensorBoard", error.what());
    events_.reset();
  }
}

// A full disk is no reason to stop training; who asked learns that this rank did not answer.
void Worker::deliver(const std::optional<Engine::Trace>& trace) const {
  if (!trace) return;
  try {
    std::error_code ignored;
    std::filesystem::create_directories(profile_parts(arguments_.run, trace->id), ignored);
    write_file_atomically(profile_part(arguments_.run, trace->id, trace->part.at("rank")).string(),
                          trace->part.dump());
  } catch (const Error& error) {
    spdlog::warn("profile: {}", error.what());
  }
}

// Training waits for the last one alone, and goes on without any other.
void Worker::save(Engine& engine, bool due, bool last) {
  if (due || last)
    if (auto status = engine.begin_save(); !status) lose_peer(status);
  if (last)
    if (auto status = engine.finish_save(); !status) lose_peer(status);
  for (const auto& [step, saved, error] : engine.take_saves()) {
    if (!error) {
      tell({{"type", "checkpoint"},
            {"step", step},
            {"seconds", saved.seconds},
            {"blocked_seconds", saved.blocked},
            {"bytes", saved.bytes}});
    } else if (last && step == engine.current_step()) {
      std::rethrow_exception(error);
    } else if (first_) {
      tell({{"type", "checkpoint_failed"}, {"step", step}, {"why", text_of(error)}});
    }
  }
}

void Worker::lose_peer(const comm::Status& status) {
  spdlog::error("lost rank {}: {}", status.peer, status.detail);
  channel_.send({{"type", "peer_lost"}, {"rank", status.peer}, {"why", status.detail}});
  leave_at_once(contract::kExitFailure);
}

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("The mathematics of one rank; started by stint-train, not by hand.", "stint-worker");
  app.set_version_flag("--version", STINT_VERSION);
  app.add_option("--recipe", arguments.recipe, "the frozen recipe")->required();
  app.add_option("--run-directory", arguments.run.root, "the run's folder")->required();
  app.add_flag("--gpu", arguments.gpu, "this worker sees one GPU, which no other has");
  app.add_flag("--alone", arguments.alone, "no worker of the run is on another node");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : contract::kExitFailure);
  }
  return arguments;
}

Channel take_channel() {
  int type = 0;
  socklen_t length = sizeof(type);
  if (getsockopt(agent::kWorkerChannel, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_SEQPACKET)
    fail("stint-worker: no channel at descriptor {}; it is started by stint-train, not by hand",
         agent::kWorkerChannel);
  return Channel(agent::kWorkerChannel);
}

// The agent passes it on; with the agent gone, it is said here.
[[noreturn]] void fail_with(Channel& channel, const char* what, int code) {
  bool told = false;
  try {
    told = channel.send({{"type", "error"}, {"what", what}, {"exit", code}});
  } catch (const Error&) {
    // the agent sees the exit status
  }
  if (!told) fmt::print(stderr, "stint: {}\n", what);
  leave_at_once(code);
}

int run_main(int argc, char** argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const Arguments arguments = parse(argc, argv);
  start_logging("stint-worker", "info");
  Channel channel = take_channel();
  try {
    return Worker(arguments, channel).run();
  } catch (const FinalError& error) {
    fail_with(channel, error.what(), contract::kExitDoNotRequeue);
  } catch (const std::bad_alloc&) {
    fail_with(
        channel,
        "memory: this host gives the worker no more; lower data.micro_batch_size or data.sequence_length",
        contract::kExitDoNotRequeue);
  } catch (const std::exception& error) {
    fail_with(channel, error.what(), contract::kExitFailure);
  }
}

}  // namespace
}  // namespace stint::engine

int main(int argc, char** argv) {
  try {
    // The destructors of libtorch's libraries would take longer than all else at the end.
    stint::engine::leave_at_once(stint::engine::run_main(argc, argv));
  } catch (const std::exception& error) {
    fmt::print(stderr, "stint: {}\n", error.what());
    return stint::contract::kExitFailure;
  }
}
