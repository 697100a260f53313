// SPDX-License-Identifier: Apache-2.0
#include "reference.h"

#include <cmath>
#include <string>
#include <vector>

namespace stint::model {
namespace {

using Vector = std::vector<double>;

// One sequence at a time: rows[t] is the vector of position t.
using Rows = std::vector<Vector>;

struct Reference {
  const Config& c;
  const Layout& layout;
  std::span<const double> parameters;

  const double* weight(const std::string& name) const { return parameters.data() + layout.at(name).offset; }

  // y = W x with W [rows, x.size()].
  static Vector product(const double* w, std::int64_t rows, const Vector& x) {
    Vector y(static_cast<std::size_t>(rows));
    for (std::size_t r = 0; r < y.size(); ++r)
      for (std::size_t i = 0; i < x.size(); ++i) y[r] += w[r * x.size() + i] * x[i];
    return y;
  }

  Vector norm(const Vector& x, const double* w) const {
    double mean = 0;
    for (double v : x) mean += v * v / static_cast<double>(x.size());
    Vector y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = x[i] / std::sqrt(mean + c.rms_norm_eps) * w[i];
    return y;
  }

  // Rotates each head's pairs (i, i + half) by position * theta^(-2 i / head_size).
  void rotate(Vector& x, std::size_t position) const {
    const auto size = static_cast<std::size_t>(c.head_size()), half = size / 2;
    for (std::size_t head = 0; head < x.size() / size; ++head)
      for (std::size_t i = 0; i < half; ++i) {
        const double angle =
            static_cast<double>(position) *
            std::pow(c.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(size));
        double& a = x[head * size + i];
        double& b = x[head * size + i + half];
        const double first = a * std::cos(angle) - b * std::sin(angle);
        b = b * std::cos(angle) + a * std::sin(angle);
        a = first;
      }
  }

  void attention(Rows& x, const std::string& layer) const {
    const auto size = static_cast<std::size_t>(c.head_size());
    const auto heads = static_cast<std::size_t>(c.heads);
    const auto group = heads / static_cast<std::size_t>(c.key_value_heads);
    Rows q, k, v;
    for (std::size_t t = 0; t < x.size(); ++t) {
      const Vector n = norm(x[t], weight(layer + "input_layernorm.weight"));
      q.push_back(product(weight(layer + "self_attn.q_proj.weight"), c.query_rows(), n));
      k.push_back(product(weight(layer + "self_attn.k_proj.weight"), c.key_value_rows(), n));
      v.push_back(product(weight(layer + "self_attn.v_proj.weight"), c.key_value_rows(), n));
      rotate(q[t], t);
      rotate(k[t], t);
    }
    for (std::size_t t = 0; t < x.size(); ++t) {
      Vector mixed(q[t].size());
      for (std::size_t h = 0; h < heads; ++h) {
        const std::size_t at = h * size, shared = h / group * size;
        Vector score(t + 1);
        double total = 0;
        for (std::size_t s = 0; s <= t; ++s) {
          for (std::size_t i = 0; i < size; ++i) score[s] += q[t][at + i] * k[s][shared + i];
          score[s] = std::exp(score[s] / std::sqrt(static_cast<double>(size)));
          total += score[s];
        }
        for (std::size_t s = 0; s <= t; ++s)
          for (std::size_t i = 0; i < size; ++i) mixed[at + i] += score[s] / total * v[s][shared + i];
      }
      const Vector y = product(weight(layer + "self_attn.o_proj.weight"), c.hidden_size, mixed);
      for (std::size_t i = 0; i < y.size(); ++i) x[t][i] += y[i];
    }
  }

  void feed_forward(Vector& x, const std::string& layer) const {
    const Vector n = norm(x, weight(layer + "post_attention_layernorm.weight"));
    Vector gate = product(weight(layer + "mlp.gate_proj.weight"), c.intermediate_size, n);
    const Vector up = product(weight(layer + "mlp.up_proj.weight"), c.intermediate_size, n);
    for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
    const Vector y = product(weight(layer + "mlp.down_proj.weight"), c.hidden_size, gate);
    for (std::size_t i = 0; i < y.size(); ++i) x[i] += y[i];
  }

  // Sum over the positions of -log p(next token).
  double loss(std::span<const std::int64_t> tokens) const {
    const double* embedding = weight("model.embed_tokens.weight");
    const double* head = c.tied ? embedding : weight("lm_head.weight");
    Rows x;
    for (std::size_t t = 0; t + 1 < tokens.size(); ++t) {
      const double* row = embedding + tokens[t] * c.hidden_size;
      x.emplace_back(row, row + c.hidden_size);
    }
    for (std::int64_t i = 0; i < c.layers; ++i) {
      const std::string layer = "model.layers." + std::to_string(i) + ".";
      attention(x, layer);
      for (auto& row : x) feed_forward(row, layer);
    }
    double sum = 0;
    for (std::size_t t = 0; t < x.size(); ++t) {
      const Vector logits = product(head, c.vocab_size, norm(x[t], weight("model.norm.weight")));
      double total = 0;
      for (double logit : logits) total += std::exp(logit);
      sum += std::log(total) - logits[static_cast<std::size_t>(tokens[t + 1])];
    }
    return sum;
  }
};

}  // namespace

double reference_loss(const Config& config, const Layout& layout, std::span<const double> parameters,
                      std::span<const std::int64_t> tokens, std::int64_t batch, double scale) {
  const Reference reference{config, layout, parameters};
  const std::size_t columns = tokens.size() / static_cast<std::size_t>(batch);
  double sum = 0;
  for (std::size_t row = 0; row < tokens.size(); row += columns)
    sum += reference.loss(tokens.subspan(row, columns));
  return sum * scale;
}

}  // namespace stint::model
