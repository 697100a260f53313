// SPDX-License-Identifier: Apache-2.0
// step_ddp FOLDER RANK SIZE RECIPE: one rank of a data-parallel run, told what to do by lines on stdin:
//   inputs N   rank 0 writes what a peer needs to train alike: FOLDER/{parameters.f32, layout.json,
//   tokens.i64},
//              tokens of the first N steps
//   steps N    trains; answers {"seconds":[…],"losses":[…]}
//   products N the matrix products of one step alone, N times; answers {"seconds":[…]}
// Each line is answered by one of JSON. The ranks share memory, as the workers of a node do.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "trainer/comm/shm.h"
#include "trainer/engine/blas.h"
#include "trainer/engine/engine.h"

namespace {

using namespace stint;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
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
    for (const auto begin = Clock::now(); !std::filesystem::exists(name_);) {
      if (seconds_since(begin) > 60) fail("rank 0 did not come");
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
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

// As the model calls them: forward, and backward by the input and by the weight, of each weight.
class Products {
 public:
  Products(const recipes::Recipe& recipe, std::int64_t rows)
      : config_(model::config_of(recipe)),
        operand_(config_.bf16 ? model::bf16_operand() : model::Operand::kFloat),
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
  Rank(const std::filesystem::path& folder, int rank, int size, const std::string& recipe)
      : folder_(folder),
        rank_(rank),
        recipe_(recipes::resolve(recipe, {})),
        facts_(start_mathematics()),
        segment_(folder, rank),
        communicator_(segment_.open(size, engine::Engine::shared_bytes(recipe_)),
                      comm::whole_view(1, rank, size), std::chrono::minutes(2)),
        engine_(recipe_, RunDirectory{folder}, communicator_, facts_),
        slots_(recipe_.data.global_batch_size / size) {
    if (auto status = engine_.start(); !status) fail("start: {}", status.detail);
    segment_.forget();
  }

  json obey(const std::string& command, int count) {
    if (command == "inputs") return write_inputs(count);
    if (command == "steps") return steps(count);
    if (command == "products") return products(count);
    fail("no command '{}'", command);
  }

 private:
  static json start_mathematics() {
    const auto blas = engine::require_blas(1);
    model::start_mathematics(1);
    return {{"blas", blas.kernel}};
  }

  json steps(int count) {
    std::vector<double> seconds, losses;
    for (int i = 0; i < count; ++i) {
      engine::StepReport report;
      if (auto status = engine_.step(false, report); !status) fail("step: {}", status.detail);
      seconds.push_back(report.seconds);
      losses.push_back(report.loss);
    }
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    return {{"seconds", seconds}, {"losses", losses}, {"peak_mib", used.ru_maxrss / 1024}};
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
    const auto parameters = engine_.state().parameters.span();
    std::ofstream(folder_ / "parameters.f32", std::ios::binary)
        .write(reinterpret_cast<const char*>(parameters.data()),
               static_cast<std::streamsize>(parameters.size_bytes()));
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
  comm::ShmCommunicator communicator_;
  engine::Engine engine_;
  std::int64_t slots_;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 5) fail("usage: step_ddp FOLDER RANK SIZE RECIPE");
    Rank rank(argv[1], std::atoi(argv[2]), std::atoi(argv[3]), argv[4]);
    std::string command;
    for (int count = 0; std::cin >> command >> count;)
      std::cout << rank.obey(command, count).dump() << std::endl;
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "step_ddp: " << error.what() << std::endl;
    return 1;
  }
}
