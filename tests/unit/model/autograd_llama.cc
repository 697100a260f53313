// SPDX-License-Identifier: Apache-2.0
#include "autograd_llama.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <vector>

#include "trainer/model/products.h"

namespace stint::model {
namespace {

using at::Tensor;

struct Layer {
  Tensor input_norm, qkv, output, post_norm, gate_up, down;
};

// Rotary tables for one length, and the additive causal mask for one group of query heads.
struct Positions {
  std::int64_t length = 0;
  Tensor cosine, sine;  // [length, 1, head_size / 2], fp32
  Tensor mask;          // [1, group * length, length], in the products' type
};

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  return x * at::rsqrt(x.square().mean(-1, true).add(eps)) * weight;
}

// x: [batch, length, heads, head_size]; pairs are (i, i + head_size / 2).
Tensor rotate(const Tensor& x, const Positions& p) {
  const auto halves = x.chunk(2, -1);
  return at::cat({halves[0] * p.cosine - halves[1] * p.sine, halves[1] * p.cosine + halves[0] * p.sine}, -1);
}

Positions make_positions(const Config& c, std::int64_t length, at::ScalarType product_type) {
  const std::int64_t half = c.head_size() / 2, group = c.heads / c.key_value_heads;
  const auto mask = at::full({length, length}, -std::numeric_limits<float>::infinity()).triu(1);
  const auto pairs = at::arange(half, at::kDouble);
  const auto frequency = at::pow(c.rope_theta, pairs * (-2.0 / static_cast<double>(c.head_size())));
  const auto angle = at::outer(at::arange(length, at::kDouble), frequency).unsqueeze(1);
  return {length, angle.cos().to(at::kFloat), angle.sin().to(at::kFloat),
          mask.repeat({group, 1}).unsqueeze(0).to(product_type)};
}

}  // namespace

struct AutogradLlama::Impl {
  Config config;
  // Of the operands of matrix products. Where there are no fast products in what is asked for, operands and
  // results are rounded to it around products in fp32.
  at::ScalarType product_type, rounded_type;
  bool rounds;
  Tensor embedding, norm, head;
  std::vector<Layer> layers;
  std::vector<std::pair<Tensor, Tensor>> leaves;  // parameter, its gradient
  Positions positions;

  Impl(const Config& c, const Layout& layout, std::span<float> parameters, std::span<float> gradients);
  Tensor leaf(const Parameter& first, std::vector<std::int64_t> shape, std::span<float> parameters,
              std::span<float> gradients);
  Tensor operand(const Tensor& x) const;
  Tensor linear(const Tensor& x, const Tensor& weight) const;
  Tensor attention(const Tensor& x, const Layer& layer) const;
  Tensor feed_forward(const Tensor& x, const Layer& layer) const;
  Tensor loss(std::span<const std::int64_t> tokens, std::int64_t batch, double scale);
};

AutogradLlama::Impl::Impl(const Config& c, const Layout& layout, std::span<float> parameters,
                          std::span<float> gradients)
    : config(c),
      product_type(c.bf16 && bf16_operand() == Operand::kBf16 ? at::kBFloat16 : at::kFloat),
      rounded_type(c.fp16 ? at::kHalf : at::kBFloat16),
      rounds(c.fp16 || (c.bf16 && bf16_operand() == Operand::kRounded)) {
  const auto take = [&](const std::string& name, std::vector<std::int64_t> shape = {}) {
    const auto& p = layout.at(name);
    return leaf(p, shape.empty() ? p.shape : shape, parameters, gradients);
  };
  embedding = take("model.embed_tokens.weight");
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    layers.push_back(
        {take(layer + "input_layernorm.weight"),
         take(layer + "self_attn.q_proj.weight", {c.query_rows() + 2 * c.key_value_rows(), c.hidden_size}),
         take(layer + "self_attn.o_proj.weight"), take(layer + "post_attention_layernorm.weight"),
         take(layer + "mlp.gate_proj.weight", {2 * c.intermediate_size, c.hidden_size}),
         take(layer + "mlp.down_proj.weight")});
  }
  norm = take("model.norm.weight");
  head = c.tied ? embedding : take("lm_head.weight");
}

// A view of the flat buffers that starts at `first`; autograd adds into the gradient in place.
Tensor AutogradLlama::Impl::leaf(const Parameter& first, std::vector<std::int64_t> shape,
                                 std::span<float> parameters, std::span<float> gradients) {
  auto weight = at::from_blob(parameters.data() + first.offset, shape, at::kFloat);
  auto gradient = at::from_blob(gradients.data() + first.offset, shape, at::kFloat);
  weight.set_requires_grad(true);
  weight.mutable_grad() = gradient;
  leaves.emplace_back(weight, gradient);
  return weight;
}

// x as an operand or result of a product.
Tensor AutogradLlama::Impl::operand(const Tensor& x) const {
  return rounds ? x.to(rounded_type).to(at::kFloat) : x.to(product_type);
}

Tensor AutogradLlama::Impl::linear(const Tensor& x, const Tensor& weight) const {
  return operand(at::linear(operand(x), operand(weight)));
}

Tensor AutogradLlama::Impl::attention(const Tensor& x, const Layer& layer) const {
  const auto batch = x.size(0), length = x.size(1), size = config.head_size();
  const auto kv = config.key_value_heads, group = config.heads / kv;
  const auto qkv = linear(x, layer.qkv).view({batch, length, config.heads + 2 * kv, size});
  const auto parts = qkv.split_with_sizes({config.heads + kv, kv}, 2);
  const auto rotated = operand(rotate(parts[0], positions)).split_with_sizes({config.heads, kv}, 2);
  // Query heads that share a key head stand below each other as rows of one product.
  const auto q = rotated[0].view({batch, length, kv, group, size}).permute({0, 2, 3, 1, 4});
  const auto q_rows = q.reshape({batch * kv, group * length, size});
  const auto k = rotated[1].transpose(1, 2).reshape({batch * kv, length, size});
  const auto v = parts[1].transpose(1, 2).reshape({batch * kv, length, size});
  const auto scores =
      at::baddbmm(positions.mask, q_rows, k.transpose(1, 2), 1, 1 / std::sqrt(static_cast<double>(size)));
  const auto weights = operand(at::softmax(operand(scores), -1, at::kFloat));
  const auto mixed =
      operand(at::bmm(weights, v)).view({batch, kv, group, length, size}).permute({0, 3, 1, 2, 4});
  return linear(mixed.reshape({batch, length, config.query_rows()}), layer.output);
}

Tensor AutogradLlama::Impl::feed_forward(const Tensor& x, const Layer& layer) const {
  const auto gate_up = linear(x, layer.gate_up).chunk(2, -1);
  return linear(at::silu(gate_up[0]) * gate_up[1], layer.down);
}

Tensor AutogradLlama::Impl::loss(std::span<const std::int64_t> tokens, std::int64_t batch, double scale) {
  const std::int64_t columns = static_cast<std::int64_t>(tokens.size()) / batch;
  if (positions.length != columns - 1) positions = make_positions(config, columns - 1, product_type);
  const auto all = at::from_blob(const_cast<std::int64_t*>(tokens.data()), {batch, columns}, at::kLong);
  auto x = at::embedding(embedding, all.narrow(1, 0, columns - 1));
  for (const auto& layer : layers) {
    x = x + attention(rms_norm(x, layer.input_norm, config.rms_norm_eps), layer);
    x = x + feed_forward(rms_norm(x, layer.post_norm, config.rms_norm_eps), layer);
  }
  const auto logits = linear(rms_norm(x, norm, config.rms_norm_eps), head).to(at::kFloat);
  const auto targets = all.narrow(1, 1, columns - 1).reshape({-1});
  return at::cross_entropy_loss(logits.view({-1, config.vocab_size}), targets, {}, at::Reduction::Sum) *
         scale;
}

AutogradLlama::AutogradLlama(const Config& config, const Layout& layout, std::span<float> parameters,
                             std::span<float> gradients)
    : impl_(std::make_unique<Impl>(config, layout, parameters, gradients)) {}

AutogradLlama::~AutogradLlama() = default;

double AutogradLlama::forward_backward(std::span<const std::int64_t> tokens, std::int64_t batch,
                                       double scale) {
  const auto loss = impl_->loss(tokens, batch, scale);
  loss.backward();
  return loss.item<double>();
}

}  // namespace stint::model
