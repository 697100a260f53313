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

}  // namespace

Engine::Engine(const recipes::Recipe& recipe, const RunDirectory& run, comm::Communicator& communicator,
               nlohmann::json facts)
    : recipe_(recipe),
      communicator_(communicator),
      facts_(std::move(facts)),
      config_(model::config_of(recipe)),
      layout_(config_, static_cast<std::size_t>(communicator.size())),
      partition_(layout_, communicator.size(),
                 static_cast<int>(recipes::shard_degree(recipe, communicator.size())), communicator.rank()),
      shard_group_(communicator, partition_.shard_group()),
      replica_group_(communicator, partition_.replica_group()),
      data_(recipe.data.path, recipe.data.sequence_length, recipe.model.vocab_size, recipe.run.seed),
      checkpoints_(run.checkpoints(), config_, layout_, recipe.data.sequence_length, partition_),
      room_(communicator.memory()),
      state_{0, Buffer::within(room_, layout_.floats()), Buffer(partition_.shard_floats()),
             Buffer(partition_.shard_floats())},
      gradients_(Buffer::within(room_, layout_.floats())),
      model_(config_, layout_, state_.parameters.span(), gradients_.span()),
      slices_(make_slices()),
      slots_(slots_of(recipe, communicator)) {}

std::size_t Engine::shared_bytes(const recipes::Recipe& recipe) {
  const auto workers = static_cast<std::size_t>(recipe.resources.nodes * recipe.resources.workers_per_node);
  const model::Layout layout(model::config_of(recipe));
  const std::size_t padding = layout.units().size() * 16 * workers;  // however many of them there are
  return 2 * Buffer::room_for(layout.floats() + padding);
}

// Of the shard: runs of at most kSlice elements of one parameter.
std::vector<Slice> Engine::make_slices() {
  std::vector<Slice> slices;
  const auto& pieces = partition_.shard_pieces();
  for (const auto& p : layout_.parameters())
    for (const auto& piece : pieces) {
      const std::size_t end = std::min(p.offset + p.count, piece.flat + piece.count);
      for (std::size_t at = std::max(p.offset, piece.flat); at < end; at += kSlice) {
        const std::size_t held = piece.held + (at - piece.flat);
        slices.push_back({&state_.parameters.span()[at], &gradients_.span()[at], &state_.exp_avg.span()[held],
                          &state_.exp_avg_sq.span()[held], std::min(kSlice, end - at), p.decays});
      }
    }
  return slices;
}

Status Engine::start() {
  bool loaded = false;
  if (auto status = load(loaded); !status) return status;
  if (!loaded) model::initialize(config_, layout_, recipe_.run.seed, state_.parameters.span());
  struct Opening {
    std::int64_t step;
    double loss;
  } opening{state_.step, last_loss_};
  if (auto status = communicator_.broadcast(bytes_of(opening), 0); !status) return status;
  state_.step = opening.step;
  last_loss_ = opening.loss;
  if (replica_group_.size() > 1)
    for (Buffer* buffer : {&state_.parameters, &state_.exp_avg, &state_.exp_avg_sq})
      if (auto status = replica_group_.broadcast(std::as_writable_bytes(buffer->span()), 0); !status)
        return status;
  return gather_parameters();
}

// From the newest checkpoint that every rank of the first copy can use.
Status Engine::load(bool& loaded) {
  std::vector<std::int64_t> steps;
  const Outcome listed = attempt([&] {
    if (communicator_.rank() != 0) return std::string();
    checkpoints_.prepare();
    steps = checkpoints_.steps();
    return std::string();
  });
  std::vector<Outcome> all;
  if (auto status = exchange(communicator_, listed, all); !status) return status;
  throw_first_error(all);
  for (std::size_t i = 0;; ++i) {
    std::int64_t step = i < steps.size() ? steps[i] : -1;
    if (auto status = communicator_.broadcast(bytes_of(step), 0); !status) return status;
    if (step < 0) break;
    if (auto status = try_checkpoint(step, loaded); !status || loaded) return status;
  }
  if (!warnings_.empty())
    fail("no checkpoint of this run can be used ({}); move its folder away to start from step 0",
         warnings_.front());
  return {};
}

Status Engine::try_checkpoint(std::int64_t step, bool& loaded) {
  nlohmann::json manifest;
  const Outcome mine = attempt([&] {
    if (partition_.replica() == 0) manifest = checkpoints_.load(step, state_);
    return std::string();
  });
  std::vector<Outcome> all;
  if (auto status = exchange(communicator_, mine, all); !status) return status;
  const auto failed =
      std::find_if(all.begin(), all.end(), [](const Outcome& o) { return o.kind != Outcome::kDone; });
  loaded = failed == all.end();
  if (!loaded) warnings_.push_back(failed->text);
  if (!loaded) return {};
  if (communicator_.rank() == 0)
    take_facts(manifest);
  else
    warnings_.clear();
  return {};
}

void Engine::take_facts(const nlohmann::json& manifest) {
  for (auto& skipped : warnings_) skipped += "; going back to the one before";
  last_loss_ = manifest.value("loss", 0.0);
  const auto bytes = manifest.value("data", nlohmann::json::object()).value("bytes", data_.bytes());
  if (bytes != data_.bytes())
    warnings_.push_back(
        fmt::format("data: {} has {} bytes, the checkpoint of step {} was trained on {}; the run goes "
                    "on with other batches",
                    recipe_.data.path, data_.bytes(), state_.step, bytes));
}

Status Engine::step(bool want_stop, StepReport& report) {
  const auto begin = std::chrono::steady_clock::now();
  std::fill(gradients_.span().begin(), gradients_.span().end(), 0.0f);
  const double own_loss = accumulate_gradients();
  if (auto status = reduce_gradients(); !status) return status;
  Sums sums;
  if (auto status = agree(own_loss, want_stop, sums); !status) return status;
  if (!std::isfinite(sums.loss) || !std::isfinite(sums.norm))
    fail_finally("step {}: loss {} and gradient norm {} are not finite; lower optim.learning_rate = {}",
                 state_.step + 1, sums.loss, sums.norm, recipe_.optim.learning_rate);

  const double rate = learning_rate(recipe_, state_.step);
  const auto& o = recipe_.optim;
  adamw_update({o.betas[0], o.betas[1], o.eps, o.weight_decay}, rate, clip_factor(sums.norm, o.grad_clip),
               state_.step + 1, slices_);
  if (auto status = gather_parameters(); !status) return status;
  ++state_.step;

  last_loss_ = sums.loss;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  report = {state_.step, sums.loss, sums.norm, rate, seconds.count(), sums.stop};
  return {};
}

// To the shard's own sums over all ranks.
Status Engine::reduce_gradients() {
  const auto all = gradients_.span();
  for (std::size_t i = 0; i < layout_.units().size(); ++i) {
    const auto& unit = layout_.units()[i];
    const auto& piece = partition_.shard_pieces()[i];
    if (auto status = shard_group_.reduce_scatter(all.subspan(unit.begin, unit.size())); !status)
      return status;
    if (replica_group_.size() == 1) continue;
    if (auto status = replica_group_.all_reduce(all.subspan(piece.flat, piece.count)); !status) return status;
  }
  return {};
}

// The sums that decide on the update. Nobody has changed anything before all ranks are here.
Status Engine::agree(double loss, bool want_stop, Sums& sums) {
  std::vector<Vote> votes(static_cast<std::size_t>(communicator_.size()));
  auto& own = votes[static_cast<std::size_t>(communicator_.rank())];
  for (const auto& piece : partition_.own_pieces())
    own.squares += sum_of_squares(gradients_.span().subspan(piece.flat, piece.count));
  own.loss = loss;
  own.stop = want_stop ? 1 : 0;
  if (auto status = exchange(communicator_, votes); !status) return status;
  std::vector<double> squares(votes.size());
  for (int rank = 0; rank < communicator_.size(); ++rank) {
    const auto& vote = votes[static_cast<std::size_t>(rank)];
    squares[static_cast<std::size_t>(partition_.order_of(rank))] = vote.squares;
    sums.loss += vote.loss;
    sums.stop = sums.stop || vote.stop > 0;
  }
  sums.norm = std::sqrt(std::accumulate(squares.begin(), squares.end(), 0.0));
  return {};
}

Status Engine::gather_parameters() {
  if (partition_.degree() == 1) return {};
  for (const auto& unit : layout_.units())
    if (auto status = shard_group_.all_gather(state_.parameters.span().subspan(unit.begin, unit.size()));
        !status)
      return status;
  return {};
}

// Forward and backward of this rank's slots, in their order. The loss is this rank's part of the global mean.
double Engine::accumulate_gradients() {
  const auto columns = static_cast<std::size_t>(recipe_.data.sequence_length) + 1;
  const auto micro = static_cast<std::size_t>(recipe_.data.micro_batch_size);
  const double scale =
      1.0 / (static_cast<double>(recipe_.data.global_batch_size) * static_cast<double>(columns - 1));
  double loss = 0;
  for (std::size_t slot = slots_.begin; slot < slots_.end; slot += micro) {
    const std::size_t batch = std::min(micro, slots_.end - slot);
    tokens_.resize(batch * columns);
    for (std::size_t i = 0; i < batch; ++i)
      data_.read(state_.step, static_cast<std::int64_t>(slot + i),
                 std::span(tokens_).subspan(i * columns, columns));
    loss += model_.forward_backward(tokens_, static_cast<std::int64_t>(batch), scale);
  }
  return loss;
}

Status Engine::save(CheckpointStore::Saved& saved) {
  const std::int64_t keep = recipe_.checkpoint.keep;
  const bool first = communicator_.rank() == 0;
  if (partition_.degree() == 1) {
    if (first) saved = checkpoints_.save(state_, manifest_facts(), keep);
    return {};
  }
  const auto begin = std::chrono::steady_clock::now();
  std::vector<Outcome> all;
  const auto together = [&](auto&& body) { return exchange(communicator_, attempt(body), all); };
  auto status = together([&] {
    if (first) checkpoints_.begin(state_.step);
    return std::string();
  });
  if (!status) return status;
  throw_first_error(all);
  status = together([&] {
    return partition_.replica() == 0 ? checkpoints_.write_shard(state_).dump() : std::string("{}");
  });
  if (!status) return status;
  if (!first) {
    throw_first_error(all);
    return {};
  }
  try {
    throw_first_error(all);
    auto files = nlohmann::json::object();
    for (const auto& outcome : all) files.update(nlohmann::json::parse(outcome.text));
    saved = checkpoints_.finish(state_.step, files, manifest_facts(), keep);
  } catch (const std::exception&) {
    checkpoints_.abandon(state_.step);
    throw;
  }
  saved.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return {};
}

nlohmann::json Engine::manifest_facts() const {
  nlohmann::json facts = facts_;
  facts["recipe"] = {{"name", recipe_.name}, {"hash", recipes::hash(recipes::freeze(recipe_))}};
  facts["seed"] = recipe_.run.seed;
  facts["world_size"] = communicator_.size();
  facts["sharding"] = {{"kind", recipe_.parallel.sharding}, {"degree", partition_.degree()}};
  facts["loss"] = last_loss_;
  facts["precision"] = recipe_.model.precision;
  facts["tokenizer"] = recipe_.data.tokenizer;
  facts["data"] = {{"path", recipe_.data.path}, {"bytes", data_.bytes()}};
  facts["tokens"] = state_.step * recipe_.data.global_batch_size * recipe_.data.sequence_length;
  return facts;
}

}  // namespace stint::engine
