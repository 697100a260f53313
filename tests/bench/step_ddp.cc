// SPDX-License-Identifier: Apache-2.0
// step_ddp FOLDER RANK SIZE RECIPE [tcp|free]: one rank of a run, told what to do by lines on stdin:
//   inputs N   before any step: rank 0 writes what a peer needs to train alike, tokens of the first N steps
//              among it: FOLDER/{parameters.f32,layout.json,tokens.i64}
//   steps N    trains; answers {"seconds":[…],"losses":[…],"waited":[…]}, the last for communication
//   products N the matrix products of one step alone, N times; answers {"seconds":[…]}
//   saves N    N times one step, a checkpoint of the state after it, and steps until that is safe; answers
//              {"alone":[…],"blocked":[…],"steps":[[…]…],"bytes":B,"same":whether the last holds that state}
// Each line is answered by one of JSON. The ranks share memory, as the workers of a node do; or `tcp`: they
// talk over UCX; or `free`: they do not talk at all, each works on its own, as if communication cost nothing.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "trainer/comm/ring.h"
#include "trainer/comm/shm.h"
#include "trainer/comm/ucx.h"
#include "trainer/engine/blas.h"
#include "trainer/engine/engine.h"

namespace {

using namespace stint;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

void wait_for(const std::filesystem::path& file) {
  for (const auto begin = Clock::now(); !std::filesystem::exists(file);) {
    if (seconds_since(begin) > 60) fail("{} did not come", file.string());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

// Rank 0 makes the segment and takes its name away again once all have it.
class Segment {
 public:
  Segment(const std::filesystem::path& folder, int rank)
      : name_("/dev/shm" / folder.filename()), made_(rank == 0) {}
  ~Segment() { forget(); }
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  comm::ShmSegment open(int size, std::size_t bytes) const {
    if (made_) {
      auto segment = comm::ShmSegment::create({size, 1, bytes}, name_.string() + ".new");
      std::filesystem::rename(name_.string() + ".new", name_);
      return segment;
    }
    wait_for(name_);
    return comm::ShmSegment::open(name_);
  }
  void forget() const {
    std::error_code gone;
    if (made_) std::filesystem::remove(name_, gone);
  }

 private:
  std::filesystem::path name_;
  bool made_;
};

// The ranks give each other their addresses in FOLDER.
std::unique_ptr<comm::Communicator> over_tcp(const std::filesystem::path& folder, int rank, int size) {
  auto transport = std::make_unique<comm::UcxTransport>();
  const auto file_of = [&](int of) { return folder / fmt::format("address.{}", of); };
  const std::filesystem::path unfinished = file_of(rank).string() + ".new";
  std::ofstream(unfinished, std::ios::binary) << transport->address();
  std::filesystem::rename(unfinished, file_of(rank));
  std::vector<std::string> addresses;
  for (int other = 0; other < size; ++other) {
    wait_for(file_of(other));
    std::ostringstream bytes;
    bytes << std::ifstream(file_of(other), std::ios::binary).rdbuf();
    addresses.push_back(bytes.str());
  }
  transport->connect(rank, addresses, 1);
  return std::make_unique<comm::RingCommunicator>(std::move(transport), 1, std::chrono::minutes(2));
}

class Silent final : public comm::Communicator {
 public:
  Silent(int rank, int size) : Communicator(comm::whole_view(1, rank, size), std::chrono::minutes(2)) {}
  comm::Status reduce_scatter(comm::Data) override { return {}; }
  comm::Status all_gather(comm::Data) override { return {}; }
  comm::Status all_reduce(comm::Data) override { return {}; }
  comm::Status broadcast(std::span<std::byte>, int) override { return {}; }
  comm::Status barrier() override { return {}; }
  comm::Status send(std::span<const std::byte>, int) override { return {}; }
  comm::Status receive(std::span<std::byte>, int) override { return {}; }
  void revoke() override {}
};

// As the model calls them: forward, and backward by the input and by the weight, of each weight.
class Products {
 public:
  Products(const recipes::Recipe& recipe, std::int64_t rows)
      : config_(model::config_of(recipe)),
        operand_(model::operand_of(config_)),
        rows_(rows),
        weights_(model::Layout(config_).floats() + 1),
        gradients_(operand_ == model::Operand::kFloat ? weights_.size() : std::size_t{1} << 23),
        left_(static_cast<std::size_t>(rows * widest())),
        right_(left_.size()) {}

  void run() {
    std::size_t offset = 0;
    const auto next = [&](std::int64_t out, std::int64_t in, std::int64_t most_rows) {
      for (std::int64_t row = 0; row < rows_; row += most_rows)
        three(offset, std::min(most_rows, rows_ - row), out, in);
      offset += static_cast<std::size_t>(out * in);
    };
    for (std::int64_t layer = 0; layer < config_.layers; ++layer) {
      next(config_.query_rows() + 2 * config_.key_value_rows(), config_.hidden_size, rows_);
      next(config_.hidden_size, config_.query_rows(), rows_);
      next(2 * config_.intermediate_size, config_.hidden_size, rows_);
      next(config_.hidden_size, config_.intermediate_size, rows_);
    }
    offset = 0;
    next(config_.vocab_size, config_.hidden_size, std::max<std::int64_t>(1, (1 << 24) / config_.vocab_size));
  }

 private:
  std::int64_t widest() const {
    return std::max({2 * config_.intermediate_size, config_.vocab_size, config_.hidden_size,
                     config_.query_rows() + 2 * config_.key_value_rows()});
  }
  void three(std::size_t offset, std::int64_t rows, std::int64_t out, std::int64_t in) {
    const std::size_t at = offset * bytes_of(operand_) / sizeof(float);
    const model::Matrix weight{weights_.data() + at, out, in};
    const model::Matrix x{left_.data(), rows, in}, y{right_.data(), rows, out};
    multiply(operand_, x, weight.transposed(), y);
    multiply(operand_, y, weight, x);
    if (operand_ == model::Operand::kFloat)
      return multiply(operand_, y.transposed(), x, {gradients_.data() + offset, out, in}, true);
    const std::int64_t most = std::max<std::int64_t>(1, (1 << 20) / in);
    for (std::int64_t row = 0; row < out; row += most) {
      const std::int64_t count = std::min(most, out - row);
      auto* first =
          reinterpret_cast<std::byte*>(right_.data()) + static_cast<std::size_t>(row) * bytes_of(operand_);
      const model::Matrix slice{first, rows, count, out};
      multiply(operand_, slice.transposed(), x, {gradients_.data(), count, in});
    }
  }

  model::Config config_;
  model::Operand operand_;
  std::int64_t rows_;
  std::vector<float> weights_, gradients_, left_, right_;
};

class Rank {
 public:
  Rank(const std::filesystem::path& folder, int rank, int size, const std::string& recipe,
       const std::string& way)
      : folder_(folder),
        rank_(rank),
        recipe_(recipes::resolve(recipe, {})),
        facts_(start_mathematics()),
        segment_(folder, rank),
        communicator_(connect(way, size)),
        engine_(recipe_, RunDirectory{folder}, *communicator_, facts_),
        slots_(recipe_.data.global_batch_size / size) {
    if (auto status = engine_.start(); !status) fail("start: {}", status.detail);
    segment_.forget();
  }

  json obey(const std::string& command, int count) {
    if (command == "inputs") return write_inputs(count);
    if (command == "steps") return steps(count);
    if (command == "products") return products(count);
    if (command == "saves") return saves(count);
    fail("no command '{}'", command);
  }

 private:
  static json start_mathematics() {
    const auto blas = engine::require_blas(1);
    model::start_mathematics(1);
    return {{"blas", blas.kernel}};
  }

  std::unique_ptr<comm::Communicator> connect(const std::string& way, int size) const {
    if (way == "tcp") return over_tcp(folder_, rank_, size);
    if (way == "free") return std::make_unique<Silent>(rank_, size);
    return std::make_unique<comm::ShmCommunicator>(segment_.open(size, engine::Engine::shared_bytes(recipe_)),
                                                   comm::whole_view(1, rank_, size), std::chrono::minutes(2));
  }

  double step() {
    engine::StepReport report;
    if (auto status = engine_.step(false, report); !status) fail("step: {}", status.detail);
    return report.seconds;
  }

  json saves(int count) {
    std::vector<double> alone, blocked;
    std::vector<std::vector<double>> steps;
    engine::CheckpointStore::Saved last;
    engine::State then{};
    for (int i = 0; i < count; ++i) {
      alone.push_back(step());
      then = copy_of(engine_.state());
      if (auto status = engine_.begin_save(); !status) fail("save: {}", status.detail);
      auto& beside = steps.emplace_back();
      for (auto done = engine_.take_saves();; done = engine_.take_saves()) {
        if (!done.empty() && done.front().error) std::rethrow_exception(done.front().error);
        if (!done.empty()) {
          last = done.front().saved;
          break;
        }
        beside.push_back(step());
      }
      blocked.push_back(last.blocked);
    }
    return {{"alone", alone},
            {"blocked", blocked},
            {"steps", steps},
            {"bytes", last.bytes},
            {"same", holds(then)}};
  }

  static engine::State copy_of(const engine::State& state) {
    engine::State copy{state.step, {}, {}, {}};
    for (const auto& [from, to] : {std::pair{&state.parameters, &copy.parameters},
                                   {&state.exp_avg, &copy.exp_avg},
                                   {&state.exp_avg_sq, &copy.exp_avg_sq}}) {
      *to = engine::Buffer(from->span().size());
      std::ranges::copy(from->span(), to->span().begin());
    }
    return copy;
  }

  // The checkpoint of that step, as one process would load it.
  bool holds(const engine::State& wanted) const {
    const model::Layout& layout = engine_.layout();
    const engine::CheckpointStore store(RunDirectory{folder_}.checkpoints(), model::config_of(recipe_),
                                        layout, recipe_.data.sequence_length);
    engine::State found{0, engine::Buffer(layout.floats()), engine::Buffer(layout.floats()),
                        engine::Buffer(layout.floats())};
    store.load(wanted.step, found);
    return std::ranges::equal(found.parameters.span(), wanted.parameters.span()) &&
           std::ranges::equal(found.exp_avg.span(), wanted.exp_avg.span()) &&
           std::ranges::equal(found.exp_avg_sq.span(), wanted.exp_avg_sq.span());
  }

  json steps(int count) {
    std::vector<double> seconds, losses, waited;
    for (int i = 0; i < count; ++i) {
      engine::StepReport report;
      if (auto status = engine_.step(false, report); !status) fail("step: {}", status.detail);
      seconds.push_back(report.seconds);
      losses.push_back(report.loss);
      waited.push_back(report.communicating);
    }
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    return {
        {"seconds", seconds}, {"losses", losses}, {"waited", waited}, {"peak_mib", used.ru_maxrss / 1024}};
  }

  json products(int count) {
    const std::int64_t micro = recipe_.data.micro_batch_size;
    Products all(recipe_, std::min(micro, slots_) * recipe_.data.sequence_length);
    std::vector<double> seconds;
    for (int i = 0; i < count; ++i) {
      const auto begin = Clock::now();
      for (std::int64_t slot = 0; slot < slots_; slot += micro) all.run();
      seconds.push_back(seconds_since(begin));
    }
    return {{"seconds", seconds}};
  }

  json write_inputs(int count) {
    if (rank_ != 0) return json::object();
    std::vector<float> parameters(engine_.layout().floats());  // the engine may hold but a part of them
    model::initialize(model::config_of(recipe_), engine_.layout(), recipe_.run.seed, parameters);
    std::ofstream(folder_ / "parameters.f32", std::ios::binary)
        .write(reinterpret_cast<const char*>(parameters.data()),
               static_cast<std::streamsize>(parameters.size() * sizeof(float)));
    json layout = json::array();
    for (const auto& p : engine_.layout().parameters())
      layout.push_back({{"name", p.name}, {"shape", p.shape}, {"offset", p.offset}, {"decays", p.decays}});
    std::ofstream(folder_ / "layout.json") << layout;
    const engine::ByteText data(recipe_.data.path, recipe_.data.sequence_length, recipe_.model.vocab_size,
                                recipe_.run.seed);
    std::ofstream file(folder_ / "tokens.i64", std::ios::binary);
    std::vector<std::int64_t> tokens(static_cast<std::size_t>(recipe_.data.sequence_length) + 1);
    for (std::int64_t step = 0; step < count; ++step)
      for (std::int64_t slot = 0; slot < recipe_.data.global_batch_size; ++slot) {
        data.read(step, slot, tokens);
        file.write(reinterpret_cast<const char*>(tokens.data()),
                   static_cast<std::streamsize>(tokens.size() * sizeof(tokens[0])));
      }
    return {{"parameters", engine_.parameter_count()}, {"facts", facts_}};
  }

  std::filesystem::path folder_;
  int rank_;
  recipes::Recipe recipe_;
  json facts_;
  Segment segment_;
  std::unique_ptr<comm::Communicator> communicator_;
  engine::Engine engine_;
  std::int64_t slots_;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 5 && argc != 6) fail("usage: step_ddp FOLDER RANK SIZE RECIPE [tcp|free]");
    Rank rank(argv[1], std::atoi(argv[2]), std::atoi(argv[3]), argv[4], argc == 6 ? argv[5] : "");
    std::string command;
    for (int count = 0; std::cin >> command >> count;)
      std::cout << rank.obey(command, count).dump() << std::endl;
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "step_ddp: " << error.what() << std::endl;
    return 1;
  }
}
