// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/engine.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "trainer/engine/exchange.h"

namespace stint::engine {
namespace {

using comm::Status;

template <typename T>
std::span<std::byte> bytes_of(T& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

comm::Range slots_of(const recipes::Recipe& recipe, const comm::Communicator& communicator) {
  const std::int64_t slots = recipe.data.global_batch_size;
  if (slots < communicator.size())
    fail("recipe: data.global_batch_size = {} is less than the {} workers; raise it or ask for fewer nodes",
         slots, communicator.size());
  return comm::chunk_of(static_cast<std::size_t>(slots), communicator.size(), communicator.rank());
}

ShardedKinds sharded_kinds(const recipes::Recipe& recipe) {
  const auto& name = recipe.parallel.sharding;
  const bool parameters = name == "zero3" || name == "hybrid";
  return {parameters || name == "zero2", parameters};
}

// The masters are what the model computes with.
bool has_whole_masters(const recipes::Recipe& recipe, model::Operand operand) {
  return operand == model::Operand::kFloat && !sharded_kinds(recipe).parameters;
}

}  // namespace

Engine::Engine(const recipes::Recipe& recipe, const RunDirectory& run, comm::Communicator& communicator,
               nlohmann::json facts, model::Device& device, std::unique_ptr<DataPath> path)
    : recipe_(recipe),
      communicator_(communicator),
      facts_(std::move(facts)),
      config_(model::config_of(recipe)),
      layout_(config_, static_cast<std::size_t>(communicator.size())),
      partition_(layout_, communicator.size(),
                 static_cast<int>(recipes::shard_degree(recipe, communicator.size())), communicator.rank()),
      device_(device),
      operand_(operand_of(config_, device)),
      path_(path ? std::move(path) : std::make_unique<HostPath>(communicator, partition_, queue_)),
      data_(recipe.data.path, recipe.data.sequence_length, recipe.model.vocab_size, recipe.run.seed),
      checkpoints_(run.checkpoints(), config_, layout_, recipe.data.sequence_length, partition_),
      room_(device.is_host() ? communicator.memory() : std::span<std::byte>()),
      state_{0,
             has_whole_masters(recipe, operand_) ? Buffer::within(room_, layout_.floats(), device)
                                                 : Buffer(partition_.shard_floats(), device),
             Buffer(partition_.shard_floats(), device), Buffer(partition_.shard_floats(), device)},
      storage_(layout_, partition_, sharded_kinds(recipe), operand_, state_.parameters, *path_, tracer_,
               room_),
      model_(config_, layout_, storage_, recipe.parallel.activation_checkpointing, device),
      slices_(make_slices()),
      squares_(own_gradients(), device),
      slots_(slots_of(recipe, communicator)),
      scale_(recipe),
      queue_(recipe.parallel.overlap && communicator.size() > 1 && device.is_host(),
             [this] { communicator_.revoke(); }) {}

std::size_t Engine::shared_bytes(const recipes::Recipe& recipe) {
  constexpr std::size_t kBuffers = 8;  // at most
  const auto workers = static_cast<std::size_t>(recipe.resources.nodes * recipe.resources.workers_per_node);
  const auto config = model::config_of(recipe);
  const model::Layout layout(config);
  const std::size_t padding = layout.units().size() * 64 * workers;  // however many of them there are
  return UnitStorage::room_bytes(layout, sharded_kinds(recipe), operand_of(config)) +
         (has_whole_masters(recipe, operand_of(config)) ? Buffer::room_for(layout.floats()) : 0) +
         kBuffers * padding;
}

std::vector<std::span<const float>> Engine::own_gradients() {
  std::vector<std::span<const float>> parts;
  for (const auto& piece : partition_.own_pieces()) parts.push_back(storage_.reduced(piece));
  return parts;
}

// Of the shard: runs of elements of one parameter.
std::vector<Slice> Engine::make_slices() {
  const std::size_t most = device_.is_host() ? kHostSlice : kFarSlice;
  std::vector<Slice> slices;
  const auto& pieces = partition_.shard_pieces();
  for (const auto& p : layout_.parameters())
    for (const auto& piece : pieces) {
      const std::size_t end = std::min(p.offset + p.count, piece.flat + piece.count);
      for (std::size_t at = std::max(p.offset, piece.flat); at < end; at += most) {
        const Piece part{at, std::min(most, end - at), piece.held + (at - piece.flat)};
        const bool whole = state_.parameters.span().size() == layout_.floats();
        slices.push_back({&state_.parameters.span()[whole ? part.flat : part.held],
                          storage_.reduced(part).data(), &state_.exp_avg.span()[part.held],
                          &state_.exp_avg_sq.span()[part.held], part.count, p.decays,
                          storage_.operands(part)});
      }
    }
  return slices;
}

Status Engine::start() try { return begin(); } catch (const model::DeviceFailure& failure) {
  model::explain(failure);
}

Status Engine::begin() {
  bool loaded = false;
  if (auto status = load(loaded); !status) return status;
  if (!loaded) initialize();
  struct Opening {
    std::int64_t step;
    double loss, scale;
    std::int64_t updates;
  } opening{state_.step, last_loss_, scale_.value(), scale_.updates()};
  auto status = queue_.run([&] { return communicator_.broadcast(bytes_of(opening), 0); });
  if (!status) return status;
  if (path_->replica().size() > 1)
    path_->post([&]() -> Status {
      for (Buffer* buffer : {&state_.parameters, &state_.exp_avg, &state_.exp_avg_sq})
        if (auto given = path_->replica().broadcast(std::as_writable_bytes(buffer->span()), 0); !given)
          return given;
      return {};
    });
  if (status = path_->finish(); !status) return status;
  state_.step = opening.step;
  last_loss_ = opening.loss;
  scale_.restore(opening.scale, opening.updates);
  round_parameters();
  storage_.publish();
  return {};
}

void Engine::initialize() {
  const auto parameters = state_.parameters.span();
  const bool has_all = parameters.size() == layout_.floats();
  if (has_all && device_.is_host()) return model::initialize(config_, layout_, recipe_.run.seed, parameters);
  for (std::size_t i = 0; i < layout_.units().size(); ++i) {
    const auto& unit = layout_.units()[i];
    const Piece piece = has_all ? Piece{unit.begin, unit.size(), unit.begin} : partition_.shard_pieces()[i];
    Buffer whole(unit.size());  // gives its memory back, which malloc's would not
    model::initialize(config_, layout_, recipe_.run.seed, i, whole.span());
    device_.put(&parameters[piece.held], whole.span().data() + (piece.flat - unit.begin),
                piece.count * sizeof(float));
  }
}

void Engine::round_parameters() {
  for (const auto& slice : slices_)
    if (slice.operands != nullptr)
      device_.kernels(operand_).to_operand(slice.parameters, static_cast<std::int64_t>(slice.count),
                                           slice.operands);
}

Status Engine::step(bool want_stop, StepReport& report) try {
  return train_step(want_stop, report);
} catch (const CommFailure& failure) {
  return failure.status;
} catch (const model::DeviceFailure& failure) {
  model::explain(failure);
}

Status Engine::train_step(bool want_stop, StepReport& report) {
  if (trace_.steps > 0 && !tracer_.on())
    if (auto status = begin_trace(); !status) return status;
  const Span span(tracer_, {"step"});
  const auto begin = std::chrono::steady_clock::now();
  const double waited = queue_.seconds_waited() + path_->seconds_waited();
  const double own_loss = accumulate_gradients();
  Sums sums;
  if (auto status = agree(own_loss, want_stop, sums); !status) return status;
  report = {};
  report.step = state_.step + 1;
  report.stop = sums.stop;
  report.loss_scale = scale_.is_dynamic() ? scale_.value() : 0;
  report.overflow = std::isfinite(sums.loss) && !std::isfinite(sums.norm) && scale_.note_overflow();
  if (report.overflow) {
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return go_on_saving(sums.written);
  }
  require_finite(sums);
  const double rate = learning_rate(recipe_, state_.step);
  const auto& o = recipe_.optim;
  std::optional<Span> updating(std::in_place, tracer_, Tracer::Event{"optimiser"});
  adamw_update({o.betas[0], o.betas[1], o.eps, o.weight_decay}, rate,
               clip_factor(sums.norm, o.grad_clip) / scale_.value(), state_.step + 1, slices_, device_,
               operand_,
               saving_ ? [this](const Slice& slice) { saving_->before_update(slice); }
                       : std::function<void(const Slice&)>());
  updating.reset();
  storage_.publish();
  ++state_.step;
  scale_.note_update();

  last_loss_ = sums.loss;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  report.loss = sums.loss;
  report.grad_norm = sums.norm;
  report.learning_rate = rate;
  report.seconds = seconds.count();
  report.communicating = queue_.seconds_waited() + path_->seconds_waited() - waited;
  report.reading = sums.reading;
  report.peak_memory = static_cast<std::int64_t>(sums.peak_memory);
  return go_on_saving(sums.written);
}

void Engine::require_finite(const Sums& sums) const {
  if (std::isfinite(sums.loss) && std::isfinite(sums.norm)) return;
  fail_finally("step {}: loss {} and gradient norm {} are not finite{}; lower optim.learning_rate = {}{}",
               state_.step + 1, sums.loss, sums.norm,
               scale_.is_dynamic() ? fmt::format(" at loss scale {}", scale_.value()) : "",
               recipe_.optim.learning_rate,
               scale_.is_dynamic() ? " or use model.precision = bf16, which has the range of fp32" : "");
}

// Forward and backward of this rank's slots, in their order. The loss is this rank's part of the global mean.
double Engine::accumulate_gradients() {
  const auto micro = static_cast<std::size_t>(recipe_.data.micro_batch_size);
  const auto slots = static_cast<std::size_t>(recipe_.data.global_batch_size);
  // Where all ranks must make as many passes, those of the rank with the most slots.
  const std::size_t most =
      storage_.shards_gradients() ? comm::chunk_of(slots, communicator_.size(), 0).size() : slots_.size();
  const std::size_t passes = (most + micro - 1) / micro;
  storage_.begin_step();
  reading_ = 0;
  double loss = 0;
  for (std::size_t pass = 0; pass < passes; ++pass) {
    const std::size_t first = slots_.begin + pass * micro;
    storage_.begin_pass(pass + 1 == passes);
    if (first < slots_.end)
      loss += train_slots(first, std::min(micro, slots_.end - first));
    else
      model_.idle();
    tracer_.end_phase();
  }
  return loss;
}

double Engine::train_slots(std::size_t first, std::size_t count) {
  const auto columns = static_cast<std::size_t>(recipe_.data.sequence_length) + 1;
  const double scale =
      1.0 / (static_cast<double>(recipe_.data.global_batch_size) * static_cast<double>(columns - 1));
  tokens_.resize(count * columns);
  std::optional<Span> reading(std::in_place, tracer_, Tracer::Event{"data"});
  const auto begin = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < count; ++i)
    data_.read(state_.step, static_cast<std::int64_t>(first + i),
               std::span(tokens_).subspan(i * columns, columns));
  reading_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  reading.reset();
  return model_.forward_backward(tokens_, static_cast<std::int64_t>(count), scale * scale_.value()) /
         scale_.value();
}

// The sums that decide on the update. Nobody has changed anything before all ranks are here.
Status Engine::agree(double loss, bool want_stop, Sums& sums) {
  {
    const Span span(tracer_, {"waits for gradients"});
    if (auto status = path_->finish(); !status) return status;
  }
  const Span span(tracer_, {"gradient norm"});
  std::vector<Vote> votes(static_cast<std::size_t>(communicator_.size()));
  auto& own = votes[static_cast<std::size_t>(communicator_.rank())];
  own.squares = squares_.take();
  own.loss = loss;
  own.stop = want_stop ? 1 : 0;
  own.reading = reading_;
  own.peak_memory = static_cast<double>(device_.peak_memory());
  own.written = saving_ && !saving_->written() ? 0 : 1;
  own.trace_id = static_cast<double>(wanted_trace_.id);
  own.trace_steps = static_cast<double>(wanted_trace_.steps);
  auto status = queue_.run([&] {
    const auto span =
        Span::collective(tracer_, "all_gather of sums", Tracer::kNone, votes.size() * sizeof(Vote));
    return exchange(communicator_, votes);
  });
  if (!status) return status;
  std::vector<double> squares(votes.size());
  for (int rank = 0; rank < communicator_.size(); ++rank) {
    const auto& vote = votes[static_cast<std::size_t>(rank)];
    squares[static_cast<std::size_t>(partition_.order_of(rank))] = vote.squares;
    sums.loss += vote.loss;
    sums.stop = sums.stop || vote.stop > 0;
    sums.reading = std::max(sums.reading, vote.reading);
    sums.peak_memory = std::max(sums.peak_memory, vote.peak_memory);
    sums.written = sums.written && vote.written > 0;
  }
  if (trace_.steps == 0 && votes.front().trace_steps > 0) {
    trace_.id = static_cast<std::int64_t>(votes.front().trace_id);
    trace_.steps = static_cast<std::int64_t>(votes.front().trace_steps);
    wanted_trace_.steps = 0;
  }
  sums.norm = std::sqrt(std::accumulate(squares.begin(), squares.end(), 0.0)) / scale_.value();
  return {};
}

Status Engine::barrier() {
  if (auto status = path_->finish(); !status) return status;
  return queue_.run([&] { return communicator_.barrier(); });
}

}  // namespace stint::engine
