// SPDX-License-Identifier: Apache-2.0
// The shape of one Llama model, and the place of each of its parameters in one flat buffer. Pure: no torch,
// no files, no threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "recipes/recipe.h"

namespace stint::model {

struct Config {
  std::int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, layers = 0;
  std::int64_t heads = 0, key_value_heads = 0;
  double rope_theta = 0, rms_norm_eps = 0, initializer_range = 0;
  bool tied = false;  // lm_head is the transposed embedding
  // Parameters and matrix products; gradients are fp32.
  bool bf16 = false, fp16 = false;

  std::int64_t head_size() const { return hidden_size / heads; }
  std::int64_t query_rows() const { return heads * head_size(); }
  std::int64_t key_value_rows() const { return key_value_heads * head_size(); }
};

// Throws Error that names the key when the sizes do not fit each other.
Config config_of(const recipes::Recipe& recipe);

// config.json as Hugging Face reads it (LlamaForCausalLM). `sequence_length` becomes max_position_embeddings.
nlohmann::json huggingface_config(const Config& config, std::int64_t sequence_length);

// Hugging Face's names and shapes; `offset` and `count` in floats.
struct Parameter {
  std::string name;
  std::vector<std::int64_t> shape;
  std::size_t offset = 0, count = 0;
  bool decays = true;  // false for norms and embeddings: no weight decay
  bool is_norm() const { return shape.size() == 1; }
};

// Of the flat buffer, [begin, end): what is used together, and so gathered, reduced and freed together.
struct Unit {
  std::size_t begin = 0, end = 0;
  std::size_t size() const { return end - begin; }
};

// Parameters in model order. Those of one matrix product (q, k, v and gate, up) lie side by side without a
// hole, each such group starts on a 64-byte line; padding between groups is always zero.
// Units: the embedding; each layer; the last norm with the head, which where that is tied belong to the
// first.
class Layout {
 public:
  // Each unit can be cut into `parts` equal parts that start on 64-byte lines.
  explicit Layout(const Config& config, std::size_t parts = 1);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  const std::vector<Unit>& units() const { return units_; }
  const Parameter& at(const std::string& name) const;  // throws Error on an unknown name
  std::size_t floats() const { return floats_; }       // length of the flat buffer, padding included
  std::int64_t parameter_count() const;

 private:
  void add(std::string name, std::vector<std::int64_t> shape, bool decays = true);
  void align();
  void end_unit(std::size_t parts);

  std::vector<Parameter> parameters_;
  std::vector<Unit> units_;
  std::size_t floats_ = 0;
};

}  // namespace stint::model
