// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/llama.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <string_view>
#include <vector>

#include "base/final_error.h"
#include "trainer/model/random.h"

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

// oneDNN has bf16 products from AVX-512 on; below it ATen falls to plain loops, a hundred times slower.
bool has_bf16_products() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq");
#else
  return false;
#endif
}

Positions make_positions(const Config& c, std::int64_t length, at::ScalarType product_type) {
  const std::int64_t half = c.head_size() / 2, group = c.heads / c.key_value_heads;
  // The largest first: where memory does not suffice, it shows at once.
  const auto mask = at::full({length, length}, -std::numeric_limits<float>::infinity()).triu(1);
  const auto pairs = at::arange(half, at::kDouble);
  const auto frequency = at::pow(c.rope_theta, pairs * (-2.0 / static_cast<double>(c.head_size())));
  const auto angle = at::outer(at::arange(length, at::kDouble), frequency).unsqueeze(1);
  return {length, angle.cos().to(at::kFloat), angle.sin().to(at::kFloat),
          mask.repeat({group, 1}).unsqueeze(0).to(product_type)};
}

// Of one sequence, without its last target.
std::int64_t length_of(std::span<const std::int64_t> tokens, std::int64_t batch) {
  return batch > 0 ? static_cast<std::int64_t>(tokens.size()) / batch - 1 : -1;
}

// Torch: "…: can't allocate memory: you tried to allocate 123 bytes. Error code 12 …", or that a size
// overflowed.
[[noreturn]] void fail_for_memory(std::int64_t batch, std::int64_t length, const std::string& text) {
  constexpr std::string_view kBefore = "tried to allocate ";
  const auto at = text.find(kBefore);
  std::uint64_t bytes = 0;
  if (at != std::string::npos) {
    const char* begin = text.data() + at + kBefore.size();
    std::from_chars(begin, text.data() + text.size(), bytes);
  }
  fail_finally(
      "memory: {} sequence{} of {} tokens do{} not fit: {} not to be had; lower data.micro_batch_size or "
      "data.sequence_length",
      batch, batch == 1 ? "" : "s", length, batch == 1 ? "es" : "",
      bytes == 0 ? "more bytes than can be counted are" : fmt::format("{} bytes more are", bytes));
}

// Runs `body` for `batch` sequences of `length` tokens. Torch's messages carry a stack of frames behind their
// first line.
template <typename Body>
auto in_one_line(std::int64_t batch, std::int64_t length, Body body) {
  try {
    return body();
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    if (text.find("allocate memory") != std::string::npos || text.find("overflow") != std::string::npos)
      fail_for_memory(batch, length, text);
    fail("model: {}", text.substr(0, text.find('\n')));
  }
}

}  // namespace

struct Llama::Impl {
  Config config;
  // Of the operands of matrix products. With bf16 asked for and no fast bf16 products, operands and results
  // are rounded to bf16 around products in fp32.
  at::ScalarType product_type;
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

Llama::Impl::Impl(const Config& c, const Layout& layout, std::span<float> parameters,
                  std::span<float> gradients)
    : config(c),
      product_type(c.bf16 && has_bf16_products() ? at::kBFloat16 : at::kFloat),
      rounds(c.bf16 && !has_bf16_products()) {
  if (parameters.size() != layout.floats() || gradients.size() != layout.floats())
    fail("model: buffers of {} and {} floats do not fit a layout of {}", parameters.size(), gradients.size(),
         layout.floats());
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
Tensor Llama::Impl::leaf(const Parameter& first, std::vector<std::int64_t> shape, std::span<float> parameters,
                         std::span<float> gradients) {
  auto weight = at::from_blob(parameters.data() + first.offset, shape, at::kFloat);
  auto gradient = at::from_blob(gradients.data() + first.offset, shape, at::kFloat);
  weight.set_requires_grad(true);
  weight.mutable_grad() = gradient;
  leaves.emplace_back(weight, gradient);
  return weight;
}

// x as an operand or result of a product.
Tensor Llama::Impl::operand(const Tensor& x) const {
  return rounds ? x.to(at::kBFloat16).to(at::kFloat) : x.to(product_type);
}

Tensor Llama::Impl::linear(const Tensor& x, const Tensor& weight) const {
  return operand(at::linear(operand(x), operand(weight)));
}

Tensor Llama::Impl::attention(const Tensor& x, const Layer& layer) const {
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

Tensor Llama::Impl::feed_forward(const Tensor& x, const Layer& layer) const {
  const auto gate_up = linear(x, layer.gate_up).chunk(2, -1);
  return linear(at::silu(gate_up[0]) * gate_up[1], layer.down);
}

Tensor Llama::Impl::loss(std::span<const std::int64_t> tokens, std::int64_t batch, double scale) {
  const std::int64_t columns = length_of(tokens, batch) + 1;
  if (columns < 2 || static_cast<std::size_t>(columns * batch) != tokens.size())
    fail("model: {} tokens are not {} sequences of at least two", tokens.size(), batch);
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

Llama::Llama(const Config& config, const Layout& layout, std::span<float> parameters,
             std::span<float> gradients)
    : impl_(std::make_unique<Impl>(config, layout, parameters, gradients)) {}

Llama::~Llama() = default;

double Llama::forward_backward(std::span<const std::int64_t> tokens, std::int64_t batch, double scale) {
  return in_one_line(batch, length_of(tokens, batch), [&] {
    const auto loss = impl_->loss(tokens, batch, scale);
    loss.backward();
    return loss.item<double>();
  });
}

double Llama::forward(std::span<const std::int64_t> tokens, std::int64_t batch, double scale) {
  const at::NoGradGuard no_derivatives;
  return in_one_line(batch, length_of(tokens, batch),
                     [&] { return impl_->loss(tokens, batch, scale).item<double>(); });
}

void start_mathematics(int threads) {
  at::globalContext().setFlushDenormal(true);
  at::set_num_threads(threads);
}

void initialize(const Config& config, const Layout& layout, std::uint64_t seed, std::span<float> parameters) {
  std::fill(parameters.begin(), parameters.end(), 0.0f);
  for (const auto& p : layout.parameters()) {
    const auto values = parameters.subspan(p.offset, p.count);
    if (p.is_norm())
      std::fill(values.begin(), values.end(), 1.0f);
    else
      fill_normal(values, seed, p.name, config.initializer_range);
  }
}

}  // namespace stint::model
