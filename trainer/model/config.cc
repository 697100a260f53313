// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace stint::model {
namespace {

constexpr std::size_t kLineFloats = 16;  // 64 bytes

void require_multiple(const char* key, std::int64_t value, const char* of, std::int64_t divisor) {
  if (divisor <= 0 || value <= 0 || value % divisor != 0)
    fail("recipe: model.{} = {} is not a multiple of {} = {}", key, value, of, divisor);
}

}  // namespace

Config config_of(const recipes::Recipe& recipe) {
  const auto& m = recipe.model;
  if (m.architecture != "llama")
    fail("recipe: model.architecture '{}' is not known; use llama", m.architecture);
  if (m.precision != "fp32" && m.precision != "bf16" && m.precision != "fp16")
    fail("recipe: model.precision '{}' is not known; use fp32, bf16 or fp16", m.precision);
  require_multiple("hidden_size", m.hidden_size, "model.num_attention_heads", m.num_attention_heads);
  require_multiple("num_attention_heads", m.num_attention_heads, "model.num_key_value_heads",
                   m.num_key_value_heads);
  if (m.hidden_size / m.num_attention_heads % 2 != 0)
    fail(
        "recipe: model.hidden_size / num_attention_heads = {} is odd; rotary embedding needs an even head "
        "size",
        m.hidden_size / m.num_attention_heads);
  if (m.vocab_size < 1 || m.intermediate_size < 1 || m.num_hidden_layers < 1)
    fail("recipe: model.vocab_size, intermediate_size and num_hidden_layers must be at least 1");
  Config c;
  c.vocab_size = m.vocab_size;
  c.hidden_size = m.hidden_size;
  c.intermediate_size = m.intermediate_size;
  c.layers = m.num_hidden_layers;
  c.heads = m.num_attention_heads;
  c.key_value_heads = m.num_key_value_heads;
  c.rope_theta = m.rope_theta;
  c.rms_norm_eps = m.rms_norm_eps;
  c.initializer_range = m.initializer_range;
  c.tied = m.tie_word_embeddings;
  c.bf16 = m.precision == "bf16";
  c.fp16 = m.precision == "fp16";
  return c;
}

nlohmann::json huggingface_config(const Config& c, std::int64_t sequence_length) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", c.vocab_size},
          {"hidden_size", c.hidden_size},
          {"intermediate_size", c.intermediate_size},
          {"num_hidden_layers", c.layers},
          {"num_attention_heads", c.heads},
          {"num_key_value_heads", c.key_value_heads},
          {"head_dim", c.head_size()},
          {"hidden_act", "silu"},
          {"max_position_embeddings", sequence_length},
          {"rope_theta", c.rope_theta},
          {"rms_norm_eps", c.rms_norm_eps},
          {"initializer_range", c.initializer_range},
          {"tie_word_embeddings", c.tied},
          {"attention_bias", false},
          {"mlp_bias", false},
          {"attention_dropout", 0.0},
          {"use_cache", true},
          {"torch_dtype", "float32"}};
}

Layout::Layout(const Config& c, std::size_t parts) {
  const auto add_norm = [&] {
    align();
    add("model.norm.weight", {c.hidden_size}, false);
  };
  add("model.embed_tokens.weight", {c.vocab_size, c.hidden_size}, false);
  if (c.tied) add_norm();
  end_unit(parts);
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    add(layer + "self_attn.q_proj.weight", {c.query_rows(), c.hidden_size});
    add(layer + "self_attn.k_proj.weight", {c.key_value_rows(), c.hidden_size});
    add(layer + "self_attn.v_proj.weight", {c.key_value_rows(), c.hidden_size});
    align();
    add(layer + "self_attn.o_proj.weight", {c.hidden_size, c.query_rows()});
    align();
    add(layer + "mlp.gate_proj.weight", {c.intermediate_size, c.hidden_size});
    add(layer + "mlp.up_proj.weight", {c.intermediate_size, c.hidden_size});
    align();
    add(layer + "mlp.down_proj.weight", {c.hidden_size, c.intermediate_size});
    align();
    add(layer + "input_layernorm.weight", {c.hidden_size}, false);
    align();
    add(layer + "post_attention_layernorm.weight", {c.hidden_size}, false);
    end_unit(parts);
  }
  if (c.tied) return;
  add_norm();
  align();
  add("lm_head.weight", {c.vocab_size, c.hidden_size}, false);
  end_unit(parts);
}

void Layout::add(std::string name, std::vector<std::int64_t> shape, bool decays) {
  std::size_t count = 1;
  for (std::int64_t extent : shape) count *= static_cast<std::size_t>(extent);
  parameters_.push_back({std::move(name), std::move(shape), floats_, count, decays});
  floats_ += count;
}

void Layout::align() {
  floats_ = (floats_ + kLineFloats - 1) / kLineFloats * kLineFloats;
}

void Layout::end_unit(std::size_t parts) {
  const std::size_t begin = units_.empty() ? 0 : units_.back().end, line = parts * kLineFloats;
  floats_ = begin + (floats_ - begin + line - 1) / line * line;
  units_.push_back({begin, floats_});
}

const Parameter& Layout::at(const std::string& name) const {
  const auto it = std::find_if(parameters_.begin(), parameters_.end(),
                               [&](const Parameter& p) { return p.name == name; });
  if (it == parameters_.end()) fail("model: no parameter is called {}", name);
  return *it;
}

std::int64_t Layout::parameter_count() const {
  std::int64_t count = 0;
  for (const auto& p : parameters_) count += static_cast<std::int64_t>(p.count);
  return count;
}

}  // namespace stint::model
