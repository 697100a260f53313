// SPDX-License-Identifier: Apache-2.0
#include "recipes/estimate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"

namespace stint::recipes {
namespace {

constexpr double kForStartAndSaves = 1.1;

}  // namespace

Estimate estimate(const Recipe& recipe) {
  const auto& m = recipe.model;
  const std::int64_t key_value_size = m.hidden_size / m.num_attention_heads * m.num_key_value_heads;
  const std::int64_t attention = 2 * m.hidden_size * (m.hidden_size + key_value_size);  // q and o, k and v
  const std::int64_t feed_forward = 3 * m.hidden_size * m.intermediate_size;
  const std::int64_t embedding = m.vocab_size * m.hidden_size;
  const std::int64_t norms = (2 * m.num_hidden_layers + 1) * m.hidden_size;
  const std::int64_t products =
      m.num_hidden_layers * (attention + feed_forward) + embedding;  // head included
  const double scores = 6.0 * static_cast<double>(m.num_hidden_layers * m.hidden_size) *
                        static_cast<double>(recipe.data.sequence_length);
  Estimate result;
  result.parameters = products + norms + (m.tie_word_embeddings ? 0 : embedding);
  result.flops_per_token = 6.0 * static_cast<double>(products) + scores;
  result.tokens = recipe.run.steps * recipe.data.global_batch_size * recipe.data.sequence_length;
  return result;
}

std::chrono::minutes run_time(const Estimate& estimate, std::int64_t nodes, double node_tflops) {
  const double seconds = estimate.flops() / (static_cast<double>(nodes) * node_tflops * 1e12);
  return std::chrono::minutes{
      std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(seconds * kForStartAndSaves / 60)))};
}

std::string to_text(const Estimate& estimate, std::int64_t nodes, double node_tflops) {
  const auto line = [](const char* label, const std::string& text) {
    return fmt::format("{:<16} {}\n", label, text);
  };
  std::string text =
      line("parameters", fmt::format("{:.3g} M", static_cast<double>(estimate.parameters) / 1e6));
  text += line("FLOPs per token", fmt::format("{:.3g} M", estimate.flops_per_token / 1e6));
  text += line("tokens", fmt::format("{:.3g} M", static_cast<double>(estimate.tokens) / 1e6));
  text += line("FLOPs", fmt::format("{:.3g} T", estimate.flops() / 1e12));
  text += line("time", node_tflops > 0 ? fmt::format("{} on {} node{} of {} TFLOP/s",
                                                     format_duration(run_time(estimate, nodes, node_tflops)),
                                                     nodes, nodes == 1 ? "" : "s", node_tflops)
                                       : std::string("not known: set [recipes] node_tflops in stint.conf"));
  return text;
}

}  // namespace stint::recipes
