// SPDX-License-Identifier: Apache-2.0
// The engine's side of checkpoints: which one all ranks can use, and who writes what.
#include <algorithm>

#include "trainer/engine/engine.h"
#include "trainer/engine/exchange.h"

namespace stint::engine {

using comm::Status;

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
  auto status = queue_.run([&] { return exchange(communicator_, listed, all); });
  if (!status) return status;
  throw_first_error(all);
  for (std::size_t i = 0;; ++i) {
    std::int64_t step = i < steps.size() ? steps[i] : -1;
    status =
        queue_.run([&] { return communicator_.broadcast(std::as_writable_bytes(std::span(&step, 1)), 0); });
    if (!status) return status;
    if (step < 0) break;
    status = try_checkpoint(step, loaded);
    if (!status || loaded) return status;
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
  auto status = queue_.run([&] { return exchange(communicator_, mine, all); });
  if (!status) return status;
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
  const auto scale = manifest.find("loss_scale");
  if (scale != manifest.end() && scale->is_object() && scale->value("value", nlohmann::json()).is_number() &&
      scale->value("updates", nlohmann::json()).is_number_integer())
    scale_.restore(scale->at("value"), scale->at("updates"));
  const auto bytes = manifest.value("data", nlohmann::json::object()).value("bytes", data_.bytes());
  if (bytes != data_.bytes())
    warnings_.push_back(
        fmt::format("data: {} has {} bytes, the checkpoint of step {} was trained on {}; the run goes "
                    "on with other batches",
                    recipe_.data.path, data_.bytes(), state_.step, bytes));
}

Status Engine::begin_save() {
  const Span span(tracer_, {"checkpoint"});
  if (auto status = finish_save(); !status) return status;
  const bool first = communicator_.rank() == 0;
  const bool sharded = partition_.degree() > 1;
  if (!sharded && !first) return {};
  saving_ = std::make_unique<Saving>(checkpoints_, state_, first || partition_.replica() == 0,
                                     first ? manifest_facts() : nlohmann::json(), recipe_.checkpoint.keep);
  shards_wanted_ = true;
  return {};
}

Status Engine::finish_save() {
  if (!saving_) return {};
  if (shards_wanted_)
    if (auto status = gather_shards(); !status) return status;
  if (saving_) note_saved();
  return {};
}

// After a step, at which every rank has heard whether all have written their shards.
Status Engine::go_on_saving(bool all_written) {
  if (!saving_) return {};
  if (shards_wanted_ && all_written)
    if (auto status = gather_shards(); !status) return status;
  if (saving_ && saving_->finished()) note_saved();
  return {};
}

// What all ranks wrote goes to the first, which finishes; the others have done their part.
Status Engine::gather_shards() {
  shards_wanted_ = false;
  std::vector<Outcome> all{saving_->shard()};
  if (partition_.degree() > 1) {
    const Outcome mine = all.front();
    if (auto status = queue_.run([&] { return exchange(communicator_, mine, all); }); !status) return status;
  }
  if (communicator_.rank() == 0) {
    saving_->finish(std::move(all));
    return {};
  }
  const std::int64_t step = saving_->step();
  saving_.reset();
  try {
    throw_first_error(all);
  } catch (const std::exception&) {
    saves_.push_back({step, {}, std::current_exception()});
  }
  return {};
}

void Engine::note_saved() {
  Save save{saving_->step(), {}, nullptr};
  try {
    save.saved = saving_->saved();
  } catch (const std::exception&) {
    save.error = std::current_exception();
  }
  saves_.push_back(std::move(save));
  saving_.reset();
}

std::vector<Engine::Save> Engine::take_saves() {
  return std::exchange(saves_, {});
}

nlohmann::json Engine::manifest_facts() const {
  nlohmann::json facts = facts_;
  facts["recipe"] = {{"name", recipe_.name}, {"hash", recipes::hash(recipes::freeze(recipe_))}};
  facts["seed"] = recipe_.run.seed;
  facts["world_size"] = communicator_.size();
  facts["sharding"] = {{"kind", recipe_.parallel.sharding}, {"degree", partition_.degree()}};
  facts["loss"] = last_loss_;
  facts["precision"] = recipe_.model.precision;
  if (scale_.is_dynamic()) facts["loss_scale"] = {{"value", scale_.value()}, {"updates", scale_.updates()}};
  facts["tokenizer"] = recipe_.data.tokenizer;
  facts["data"] = {{"path", recipe_.data.path}, {"bytes", data_.bytes()}};
  facts["tokens"] = state_.step * recipe_.data.global_batch_size * recipe_.data.sequence_length;
  return facts;
}

}  // namespace stint::engine
