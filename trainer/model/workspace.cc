// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/workspace.h"

#include <omp.h>

#include <algorithm>
#include <cmath>

#include "base/final_error.h"

namespace stint::model {
namespace {

constexpr std::int64_t kLogits = 1 << 24;  // held at once, where one row has no more

// Of `rows` in as few parts as kLogits allows, all alike.
std::int64_t rows_at_a_time(std::int64_t rows, std::int64_t vocab_size) {
  const std::int64_t most = std::clamp<std::int64_t>(kLogits / vocab_size, 1, rows);
  const std::int64_t parts = (rows + most - 1) / most;
  return (rows + parts - 1) / parts;
}

[[noreturn]] void fail_for_memory(std::int64_t batch, std::int64_t length, std::size_t bytes) {
  fail_finally(
      "memory: {} sequence{} of {} tokens do{} not fit: {} not to be had; lower data.micro_batch_size or "
      "data.sequence_length",
      batch, batch == 1 ? "" : "s", length, batch == 1 ? "es" : "",
      bytes > PTRDIFF_MAX ? "more bytes than can be counted are" : fmt::format("{} bytes are", bytes));
}

}  // namespace

Workspace::Workspace(const Config& config, Operand operand, bool checkpointing, Device& device)
    : layers(static_cast<std::size_t>(config.layers)),
      config_(config),
      operand_(operand),
      checkpointing_(checkpointing),
      device_(device),
      arena_(device) {
  shape_.heads = config.heads;
  shape_.key_value_heads = config.key_value_heads;
  shape_.head_size = config.head_size();
}

void Workspace::fit(std::int64_t batch, std::int64_t length) {
  if (batch == shape_.batch && length == shape_.length) return;
  shape_.batch = batch;
  shape_.length = length;
  const auto& c = config_;
  const std::size_t element = bytes_of(operand_);
  const bool floats = operand_ == Operand::kFloat;
  const std::int64_t width = std::max(c.hidden_size, c.query_rows());
  const int threads = omp_get_max_threads();
  logit_rows = rows_at_a_time(rows(), c.vocab_size);

  if (!floats) {
    arena_.ask(norms, 2, c.hidden_size);
    arena_.ask(dstream_operand, rows(), c.hidden_size, element);
    arena_.ask(dweight, std::max({kSlice, c.hidden_size, c.intermediate_size}), 1, element);
  }
  ask_for_layers();
  arena_.ask(input, rows());
  arena_.ask(target, rows());
  arena_.ask(cosine, length, c.head_size() / 2);
  arena_.ask(sine, length, c.head_size() / 2);
  arena_.ask(last, rows(), c.hidden_size);
  arena_.ask(last_scale, rows());
  arena_.ask(dstream, rows(), c.hidden_size);
  arena_.ask(normed, rows(), c.hidden_size, element);
  arena_.ask(result, rows(), width, element);
  arena_.ask(inside, rows(), c.intermediate_size, element);
  arena_.ask(dqkv, rows(), shape_.row(), element);
  arena_.ask(logits, logit_rows, c.vocab_size, element);
  arena_.ask(losses, rows());
  arena_.ask(norm_scratch, rms_norm_scratch(rows(), c.hidden_size));
  arena_.ask(attention_scratch, model::attention_scratch(shape_, threads));
  arena_.ask(logit_scratch, threads, c.vocab_size);
  const std::size_t bytes = arena_.wanted();
  if (!arena_.allocate()) {
    shape_.batch = 0;
    fail_for_memory(batch, length, bytes);
  }
  for (auto& layer : layers) {
    const auto input = layer.input;
    if (checkpointing_) layer = layers.front();
    layer.input = input;
  }
  fill_rotary_tables();
}

void Workspace::ask_for_layers() {
  const std::size_t element = bytes_of(operand_);
  for (auto& layer : layers) {
    arena_.ask(layer.input, rows(), config_.hidden_size);
    if (checkpointing_ && &layer != &layers.front()) continue;
    arena_.ask(layer.middle, rows(), config_.hidden_size);
    arena_.ask(layer.input_scale, rows());
    arena_.ask(layer.middle_scale, rows());
    arena_.ask(layer.lse, rows(), config_.heads);
    arena_.ask(layer.qkv, rows(), shape_.row(), element);
    arena_.ask(layer.mixed, rows(), config_.query_rows(), element);
    arena_.ask(layer.gate_up, rows(), 2 * config_.intermediate_size, element);
  }
}

void Workspace::fill_rotary_tables() const {
  const std::int64_t half = config_.head_size() / 2;
  std::vector<float> cosines(static_cast<std::size_t>(shape_.length * half)), sines(cosines.size());
  for (std::int64_t i = 0; i < half; ++i) {
    const double frequency =
        std::pow(config_.rope_theta, -static_cast<double>(i) / static_cast<double>(half));
    for (std::int64_t t = 0; t < shape_.length; ++t) {
      const double angle = static_cast<double>(t) * frequency;
      cosines[static_cast<std::size_t>(t * half + i)] = static_cast<float>(std::cos(angle));
      sines[static_cast<std::size_t>(t * half + i)] = static_cast<float>(std::sin(angle));
    }
  }
  device_.put(cosine, cosines.data(), cosines.size() * sizeof(float));
  device_.put(sine, sines.data(), sines.size() * sizeof(float));
}

}  // namespace stint::model
