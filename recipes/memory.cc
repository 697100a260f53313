// SPDX-License-Identifier: Apache-2.0
#include "recipes/memory.h"

#include <fmt/format.h>

#include <algorithm>

namespace stint::recipes {
namespace {

constexpr std::int64_t kFloat = 4, kBf16 = 2, kToken = 8;
constexpr std::int64_t kLogits = 1 << 24;           // as many at once
constexpr std::int64_t kProgram = 176 << 20;        // measured
constexpr std::int64_t kDerivativeSlice = 1 << 20;  // elements of a weight's derivative on its way to fp32

std::int64_t divide_up(std::int64_t value, std::int64_t by) {
  return (value + by - 1) / by;
}

struct Shape {
  std::int64_t hidden, inside, vocabulary, layers, heads, head_size, row, length, rows, threads, element;
  bool masters;  // beside what the model computes with
};

Shape shape_of(const Recipe& recipe) {
  const auto& m = recipe.model;
  const std::int64_t head_size = m.hidden_size / m.num_attention_heads;
  return {m.hidden_size,
          m.intermediate_size,
          m.vocab_size,
          m.num_hidden_layers,
          m.num_attention_heads,
          head_size,
          m.hidden_size + 2 * head_size * m.num_key_value_heads,
          recipe.data.sequence_length,
          recipe.data.sequence_length * recipe.data.micro_batch_size,
          std::max<std::int64_t>(1, recipe.resources.threads_per_worker),
          m.precision == "bf16" ? kBf16 : kFloat,  // fp16 is computed with in floats
          m.precision != "fp32"};
}

// Elements of a layer; and of the largest unit that holds the vocabulary, norm of the head included.
std::int64_t layer_size(const Shape& s) {
  return s.hidden * (s.row + s.hidden + 3 * s.inside + 2);
}
std::int64_t vocabulary_size(const Shape& s) {
  return (s.vocabulary + 1) * s.hidden;
}

// What the kernels of attention and norms work in: two packed heads of each head of each sequence, and a few
// tiles a thread.
std::int64_t scratch(const Shape& s) {
  constexpr std::int64_t kTile = 64, kLanes = 16, kNormRows = 32;
  const std::int64_t length = divide_up(s.length, kTile) * kTile;
  const std::int64_t width = divide_up(s.head_size, kLanes) * kLanes, head = length * width;
  const std::int64_t thread = 7 * head + kTile * (2 * kTile + width + 2) + length;
  const std::int64_t heads = s.rows / s.length * s.heads * 2 * head;
  return kFloat * (heads + s.threads * thread + divide_up(s.rows, kNormRows) * s.hidden);
}

std::int64_t activations(const Recipe& recipe, const Shape& s) {
  const std::int64_t stream = kFloat * s.rows * s.hidden;  // the residual stream at one place
  const std::int64_t rest =
      stream + kFloat * s.rows * (2 + s.heads) + s.element * s.rows * (s.row + s.hidden + 2 * s.inside);
  const std::int64_t kept = recipe.parallel.activation_checkpointing ? 1 : s.layers;
  std::int64_t shared = 2 * stream + s.rows * (2 * kToken + 8 + kFloat) + kFloat * s.length * s.head_size +
                        s.element * s.rows * (2 * s.hidden + s.inside + s.row);
  if (s.masters) shared += s.element * (s.rows * s.hidden + std::max({kDerivativeSlice, s.hidden, s.inside}));
  return s.layers * stream + kept * rest + shared + scratch(s);
}

std::int64_t logits(const Shape& s) {
  const std::int64_t most = std::clamp<std::int64_t>(kLogits / s.vocabulary, 1, s.rows);
  const std::int64_t rows = divide_up(s.rows, divide_up(s.rows, most));
  return s.vocabulary * (s.element * rows + kFloat * s.threads);
}

std::string mebibytes(std::int64_t bytes) {
  const double value = static_cast<double>(bytes) / (1 << 20);
  return value < 10'000 ? fmt::format("{:.0f} MiB", value) : fmt::format("{:.1f} GiB", value / 1024);
}

}  // namespace

Memory memory(const Recipe& recipe, std::int64_t workers) {
  const Shape s = shape_of(recipe);
  const auto& sharding = recipe.parallel.sharding;
  const bool cuts_parameters = sharding == "zero3" || sharding == "hybrid",
             cuts_gradients = cuts_parameters || sharding == "zero2";
  const std::int64_t vocabularies = recipe.model.tie_word_embeddings ? 1 : 2;
  const std::int64_t all = s.layers * layer_size(s) + vocabularies * s.vocabulary * s.hidden + s.hidden;
  const std::int64_t shard = divide_up(all, std::max<std::int64_t>(1, shard_degree(recipe, workers)));
  const std::int64_t units = 2 * layer_size(s) + vocabulary_size(s);
  Memory result;
  result.parameters = s.masters || cuts_parameters ? kFloat * shard : kFloat * all;
  if (s.masters) result.parameters += s.element * (cuts_parameters ? shard : all);
  result.gradients = kFloat * (cuts_gradients ? shard : all);
  result.optimizer = 2 * kFloat * shard;
  result.activations = activations(recipe, s);
  result.logits = logits(s);
  result.buffers = (cuts_gradients ? kFloat * units : 0) + (cuts_parameters ? s.element * units : 0);
  if (recipe.checkpoint.interval > 0) result.checkpoint = 3 * kFloat * shard / 4;  // engine::CheckpointStore
  result.program = kProgram;
  return result;
}

std::string to_text(const Memory& memory, std::int64_t workers_per_node) {
  std::string parts;
  const auto add = [&](const char* label, std::int64_t bytes) {
    if (bytes > 0) parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", label, mebibytes(bytes));
  };
  add("parameters", memory.parameters);
  add("gradients", memory.gradients);
  add("optimiser", memory.optimizer);
  add("activations", memory.activations);
  add("logits", memory.logits);
  add("buffers", memory.buffers);
  add("checkpoint", memory.checkpoint);
  add("program", memory.program);
  return fmt::format("{:<16} {} a worker: {}\n{:<16} {} a node\n", "memory", mebibytes(memory.total()), parts,
                     "", mebibytes(memory.total() * workers_per_node));
}

}  // namespace stint::recipes
