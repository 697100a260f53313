// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/engine.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "trainer/engine/optimizer.h"

namespace stint::engine {
namespace {

using comm::Status;

// What rank 0 tells the others before the state.
struct Opening {
  std::int64_t step = 0;
  double loss = 0;
  std::array<char, 1024> error{};
};

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
      layout_(config_),
      data_(recipe.data.path, recipe.data.sequence_length, recipe.model.vocab_size, recipe.run.seed),
      checkpoints_(run.checkpoints(), config_, layout_, recipe.data.sequence_length),
      room_(communicator.memory()),
      state_{0, Buffer::within(room_, layout_.floats()), Buffer(layout_.floats()), Buffer(layout_.floats())},
      gradients_(Buffer::within(room_, layout_.floats() + kTailFloats)),
      model_(config_, layout_, state_.parameters.span(), gradients_.span().first(layout_.floats())),
      slots_(slots_of(recipe, communicator)) {}

std::size_t Engine::shared_bytes(const recipes::Recipe& recipe) {
  const std::size_t floats = model::Layout(model::config_of(recipe)).floats();
  return Buffer::room_for(floats) + Buffer::room_for(floats + kTailFloats);
}

Status Engine::start() {
  Opening opening;
  if (communicator_.rank() == 0) {
    const std::string error = load_or_initialize();
    opening.step = state_.step;
    opening.loss = last_loss_;
    error.copy(opening.error.data(), opening.error.size() - 1);
  }
  if (auto status = communicator_.broadcast(bytes_of(opening), 0); !status) return status;
  if (opening.error[0] != '\0') throw Error(opening.error.data());
  state_.step = opening.step;
  last_loss_ = opening.loss;
  for (Buffer* buffer : {&state_.parameters, &state_.exp_avg, &state_.exp_avg_sq})
    if (auto status = communicator_.broadcast(std::as_writable_bytes(buffer->span()), 0); !status)
      return status;
  return {};
}

std::string Engine::load_or_initialize() try {
  checkpoints_.prepare();
  const auto loaded = checkpoints_.load_newest(state_);
  for (const auto& skipped : loaded.skipped) warnings_.push_back(skipped + "; going back to the one before");
  if (loaded.manifest) {
    last_loss_ = loaded.manifest->value("loss", 0.0);
    const auto bytes = loaded.manifest->value("data", nlohmann::json::object()).value("bytes", data_.bytes());
    if (bytes != data_.bytes())
      warnings_.push_back(
          fmt::format("data: {} has {} bytes, the checkpoint of step {} was trained on {}; the run goes "
                      "on with other batches",
                      recipe_.data.path, data_.bytes(), state_.step, bytes));
    return {};
  }
  if (!loaded.skipped.empty())
    return fmt::format(
        "no checkpoint of this run can be used ({}); move its folder away to start from step 0",
        loaded.skipped.front());
  model::initialize(config_, layout_, recipe_.run.seed, state_.parameters.span());
  return {};
} catch (const std::exception& error) {
  return error.what();
}

Status Engine::step(bool want_stop, StepReport& report) {
  const auto begin = std::chrono::steady_clock::now();
  const auto gradients = gradients_.span().first(layout_.floats());
  const auto tail = gradients_.span().last(kTailFloats);

  std::fill(gradients_.span().begin(), gradients_.span().end(), 0.0f);
  tail[kLoss] = static_cast<float>(accumulate_gradients());
  tail[kStop] = want_stop ? 1.0f : 0.0f;
  if (auto status = communicator_.all_reduce(gradients_.span()); !status) return status;

  const double loss = tail[kLoss], norm = gradient_norm(gradients);
  if (!std::isfinite(loss) || !std::isfinite(norm))
    fail_finally("step {}: loss {} and gradient norm {} are not finite; lower optim.learning_rate = {}",
                 state_.step + 1, loss, norm, recipe_.optim.learning_rate);
  const double rate = learning_rate(recipe_, state_.step);
  const auto& o = recipe_.optim;
  adamw_update({o.betas[0], o.betas[1], o.eps, o.weight_decay}, layout_, rate, clip_factor(norm, o.grad_clip),
               state_.step + 1, state_.parameters.span(), gradients, state_.exp_avg.span(),
               state_.exp_avg_sq.span());
  ++state_.step;

  last_loss_ = loss;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  report = {state_.step, loss, norm, rate, seconds.count(), tail[kStop] > 0};
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

CheckpointStore::Saved Engine::save() {
  return checkpoints_.save(state_, manifest_facts(), recipe_.checkpoint.keep);
}

nlohmann::json Engine::manifest_facts() const {
  nlohmann::json facts = facts_;
  facts["recipe"] = {{"name", recipe_.name}, {"hash", recipes::hash(recipes::freeze(recipe_))}};
  facts["seed"] = recipe_.run.seed;
  facts["world_size"] = communicator_.size();
  facts["loss"] = last_loss_;
  facts["precision"] = recipe_.model.precision;
  facts["tokenizer"] = recipe_.data.tokenizer;
  facts["data"] = {{"path", recipe_.data.path}, {"bytes", data_.bytes()}};
  facts["tokens"] = state_.step * recipe_.data.global_batch_size * recipe_.data.sequence_length;
  return facts;
}

}  // namespace stint::engine
