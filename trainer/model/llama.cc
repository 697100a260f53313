// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/llama.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "trainer/model/random.h"
#include "trainer/model/workspace.h"

namespace stint::model {
namespace {

// Of a matrix product: [rows, columns], from `offset` in its unit.
struct Weight {
  std::size_t offset;
  std::int64_t rows, columns;
};

// Of a norm: from `offset` in its unit; which of the unit's norms it is.
struct Norm {
  std::size_t offset;
  std::int64_t index;
};

struct Layer {
  Norm input_norm, post_norm;
  Weight qkv, output, gate_up, down;
};

}  // namespace

struct Llama::Impl {
  Config config;
  Operand operand;
  Device& device;
  const Kernels& ops;
  Storage& storage;
  bool checkpointing;
  Weight embedding{}, head{};
  std::vector<Layer> layers;
  Norm norm{};
  std::vector<Unit> units;
  std::size_t head_unit;  // that of the embedding, where they are tied
  Workspace work;
  // Of the unit that is worked on.
  void* parameters = nullptr;
  float* gradients = nullptr;
  bool fresh = false;  // gradients hold nothing yet

  Impl(const Config& c, const Layout& layout, Storage& storage, bool checkpointing, Device& device);
  double run(std::span<const std::int64_t> tokens, std::int64_t batch, double scale, bool backward);
  void run_forward();
  void run_backward();

  static std::size_t unit_of(std::size_t layer) { return layer + 1; }
  void enter(std::size_t unit, std::initializer_list<Norm> norms);
  void enter_layer(std::size_t i) { enter(unit_of(i), {layers[i].input_norm, layers[i].post_norm}); }
  void enter_gradients(std::size_t unit);
  void clear(float* floats, std::int64_t count) const;
  const float* weight_of(const Norm& norm) const;

  void take_tokens(std::span<const std::int64_t> tokens, std::int64_t batch);
  void normalise(const float* x, const void* delta, const Norm& norm, float* sum, float* scale);
  void forward_attention(const Layer& layer, const Activations& a);
  void forward_gate_up(const Layer& layer, const Activations& a);
  void forward_feed_forward(const Layer& layer, const Activations& a);
  void compute_again(const Layer& layer, const Activations& a);
  void forward_head(double scale, bool backward);

  void backward_norm(const float* x, const float* scale, const Norm& norm);
  void backward_feed_forward(const Layer& layer, const Activations& a);
  void backward_attention(const Layer& layer, const Activations& a);

  Matrix matrix(void* data, std::int64_t columns) const { return {data, work.rows(), columns}; }
  Matrix values(const Weight& weight) const;
  void add_gradient(const Weight& weight, const Matrix& dy, const Matrix& x, bool first);
  void* dstream() const { return operand == Operand::kFloat ? work.dstream : work.dstream_operand; }
  void* part(void* operands, std::int64_t index) const {
    return static_cast<std::byte*>(operands) + static_cast<std::size_t>(index) * bytes_of(operand);
  }
};

Llama::Impl::Impl(const Config& c, const Layout& layout, Storage& s, bool again, Device& d)
    : config(c),
      operand(operand_of(c, d)),
      device(d),
      ops(device.kernels(operand)),
      storage(s),
      checkpointing(again),
      units(layout.units()),
      head_unit(c.tied ? 0 : units.size() - 1),
      work(c, operand, again, device) {
  std::size_t unit = 0;
  const auto offset = [&](const std::string& name) {
    return layout.at(name).offset - layout.units()[unit].begin;
  };
  embedding = {offset("model.embed_tokens.weight"), c.vocab_size, c.hidden_size};
  for (std::int64_t i = 0; i < c.layers; ++i) {
    unit = unit_of(static_cast<std::size_t>(i));
    const std::string name = "model.layers." + std::to_string(i) + ".";
    layers.push_back({{offset(name + "input_layernorm.weight"), 0},
                      {offset(name + "post_attention_layernorm.weight"), 1},
                      {offset(name + "self_attn.q_proj.weight"), work.attention().row(), c.hidden_size},
                      {offset(name + "self_attn.o_proj.weight"), c.hidden_size, c.query_rows()},
                      {offset(name + "mlp.gate_proj.weight"), 2 * c.intermediate_size, c.hidden_size},
                      {offset(name + "mlp.down_proj.weight"), c.hidden_size, c.intermediate_size}});
  }
  unit = head_unit;
  norm = {offset("model.norm.weight"), 0};
  head = c.tied ? embedding : Weight{offset("lm_head.weight"), c.vocab_size, c.hidden_size};
}

double Llama::Impl::run(std::span<const std::int64_t> tokens, std::int64_t batch, double scale,
                        bool backward) try {
  take_tokens(tokens, batch);
  run_forward();
  enter(head_unit, {norm});
  if (backward) enter_gradients(head_unit);
  normalise(work.layers.back().middle, work.result, norm, work.last, work.last_scale);
  forward_head(scale, backward);
  if (backward) run_backward();
  std::vector<double> losses(static_cast<std::size_t>(work.rows()));
  device.get(losses.data(), work.losses, losses.size() * sizeof(double));
  return std::accumulate(losses.begin(), losses.end(), 0.0) * scale;
} catch (const DeviceFailure& failure) {
  explain(failure);
}

void Llama::Impl::run_forward() {
  enter(0, {});
  ops.gather(part(parameters, static_cast<std::int64_t>(embedding.offset)), work.input, work.rows(),
             config.hidden_size, work.layers.front().input);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const Activations& a = work.layers[i];
    enter_layer(i);
    if (i == 0)
      normalise(a.input, nullptr, layers[i].input_norm, a.input, a.input_scale);
    else
      normalise(work.layers[i - 1].middle, work.result, layers[i].input_norm, a.input, a.input_scale);
    forward_attention(layers[i], a);
    normalise(a.input, work.result, layers[i].post_norm, a.middle, a.middle_scale);
    forward_feed_forward(layers[i], a);
  }
}

// From the head's derivative, in work.result.
void Llama::Impl::run_backward() {
  clear(work.dstream, work.rows() * config.hidden_size);
  backward_norm(work.last, work.last_scale, norm);
  if (!config.tied) storage.complete(head_unit);
  for (std::size_t i = layers.size(); i-- > 0;) {
    enter_layer(i);
    enter_gradients(unit_of(i));
    if (checkpointing) compute_again(layers[i], work.layers[i]);
    backward_feed_forward(layers[i], work.layers[i]);
    backward_attention(layers[i], work.layers[i]);
    storage.complete(unit_of(i));
  }
  enter_gradients(0);
  if (fresh) clear(gradients, static_cast<std::int64_t>(units[0].size()));
  ops.scatter_add(work.dstream, work.input, work.rows(), config.hidden_size, gradients + embedding.offset);
  storage.complete(0);
}

// Norms are few and wanted as floats.
void Llama::Impl::enter(std::size_t unit, std::initializer_list<Norm> of_unit) {
  parameters = const_cast<void*>(storage.parameters(unit));  // products do not write to what they read
  if (operand == Operand::kFloat) return;
  for (const Norm& n : of_unit)
    ops.to_floats(part(parameters, static_cast<std::int64_t>(n.offset)), config.hidden_size,
                  work.norms + n.index * config.hidden_size);
}

void Llama::Impl::enter_gradients(std::size_t unit) {
  const auto [data, empty] = storage.gradients(unit);
  gradients = data;
  fresh = empty;
}

void Llama::Impl::clear(float* floats, std::int64_t count) const {
  device.clear(floats, static_cast<std::size_t>(count) * sizeof(float));
}

const float* Llama::Impl::weight_of(const Norm& n) const {
  if (operand == Operand::kFloat) return static_cast<const float*>(parameters) + n.offset;
  return work.norms + n.index * config.hidden_size;
}

// What the forward pass did not keep of a layer, but for what goes out of it.
void Llama::Impl::compute_again(const Layer& layer, const Activations& a) {
  normalise(a.input, nullptr, layer.input_norm, a.input, a.input_scale);
  forward_attention(layer, a);
  normalise(a.input, work.result, layer.post_norm, a.middle, a.middle_scale);
  forward_gate_up(layer, a);
}

void Llama::Impl::take_tokens(std::span<const std::int64_t> tokens, std::int64_t batch) {
  const auto columns = batch > 0 ? static_cast<std::int64_t>(tokens.size()) / batch : 0;
  if (columns < 2 || static_cast<std::size_t>(columns * batch) != tokens.size())
    fail("model: {} tokens are not {} sequences of at least two", tokens.size(), batch);
  for (const std::int64_t token : tokens)
    if (token < 0 || token >= config.vocab_size)
      fail("model: token {} is not in the vocabulary of {}", token, config.vocab_size);
  const std::int64_t length = columns - 1;
  work.fit(batch, length);
  for (std::int64_t b = 0; b < batch; ++b) {
    const auto* first = tokens.data() + b * columns;
    const std::size_t bytes = static_cast<std::size_t>(length) * sizeof(std::int64_t);
    device.put(work.input + b * length, first, bytes);
    device.put(work.target + b * length, first + 1, bytes);
  }
}

Matrix Llama::Impl::values(const Weight& weight) const {
  return {part(parameters, static_cast<std::int64_t>(weight.offset)), weight.rows, weight.columns};
}

// weight's gradient = or, unless `first`, += transposed(dy) x. Where operands are no floats, a slice of it at
// a time goes through memory that stays in the cache.
void Llama::Impl::add_gradient(const Weight& weight, const Matrix& dy, const Matrix& x, bool first) {
  float* gradient = gradients + weight.offset;
  if (operand == Operand::kFloat)
    return device.multiply(operand, dy.transposed(), x, {gradient, weight.rows, weight.columns}, !first);
  const std::int64_t most = std::max<std::int64_t>(1, Workspace::kSlice / weight.columns);
  for (std::int64_t row = 0; row < weight.rows; row += most) {
    const std::int64_t rows = std::min(most, weight.rows - row);
    const Matrix slice{part(dy.data, row), dy.rows, rows, dy.row_stride};
    device.multiply(operand, slice.transposed(), x, {work.dweight, rows, weight.columns});
    (first ? ops.to_floats : ops.add)(work.dweight, rows * weight.columns, gradient + row * weight.columns);
  }
}

// work.normed = the norm of sum = x + delta.
void Llama::Impl::normalise(const float* x, const void* delta, const Norm& n, float* sum, float* scale) {
  ops.rms_norm(x, delta, weight_of(n), static_cast<float>(config.rms_norm_eps), work.rows(),
               config.hidden_size, sum, scale, work.normed);
}

// From work.normed to what is added to the stream, in work.result.
void Llama::Impl::forward_attention(const Layer& layer, const Activations& a) {
  const auto& shape = work.attention();
  device.multiply(operand, matrix(work.normed, config.hidden_size), values(layer.qkv).transposed(),
                  matrix(a.qkv, shape.row()));
  ops.rotate(a.qkv, shape, work.cosine, work.sine, 1);
  ops.attention(a.qkv, shape, a.mixed, a.lse, work.attention_scratch);
  device.multiply(operand, matrix(a.mixed, config.query_rows()), values(layer.output).transposed(),
                  matrix(work.result, config.hidden_size));
}

void Llama::Impl::forward_gate_up(const Layer& layer, const Activations& a) {
  device.multiply(operand, matrix(work.normed, config.hidden_size), values(layer.gate_up).transposed(),
                  matrix(a.gate_up, 2 * config.intermediate_size));
}

void Llama::Impl::forward_feed_forward(const Layer& layer, const Activations& a) {
  const std::int64_t width = config.intermediate_size;
  forward_gate_up(layer, a);
  ops.swiglu(a.gate_up, work.rows(), width, work.inside);
  device.multiply(operand, matrix(work.inside, width), values(layer.down).transposed(),
                  matrix(work.result, config.hidden_size));
}

// From work.normed to the losses; with `backward` also the derivative by work.normed, in work.result. A few
// rows of logits at a time.
void Llama::Impl::forward_head(double scale, bool backward) {
  const Matrix weight = values(head);
  for (std::int64_t row = 0; row < work.rows(); row += work.logit_rows) {
    const std::int64_t rows = std::min(work.logit_rows, work.rows() - row), width = config.hidden_size;
    const Matrix x{part(work.normed, row * width), rows, width};
    const Matrix logits{work.logits, rows, config.vocab_size};
    device.multiply(operand, x, weight.transposed(), logits);
    ops.cross_entropy(work.logits, work.target + row, rows, config.vocab_size,
                      backward ? static_cast<float>(scale) : 0.0f, work.losses + row, work.logit_scratch);
    if (!backward) continue;
    device.multiply(operand, logits, weight, {part(work.result, row * width), rows, width});
    add_gradient(head, logits, x, fresh && row == 0);
  }
}

// From work.result, the derivative by a norm's output, to that by its input, added to the stream's.
void Llama::Impl::backward_norm(const float* x, const float* scale, const Norm& n) {
  if (fresh) clear(gradients + n.offset, config.hidden_size);
  ops.rms_norm_backward(work.result, x, scale, weight_of(n), work.rows(), config.hidden_size, work.dstream,
                        gradients + n.offset, work.dstream_operand, work.norm_scratch);
}

void Llama::Impl::backward_feed_forward(const Layer& layer, const Activations& a) {
  const std::int64_t width = config.intermediate_size;
  const Matrix dy = matrix(dstream(), config.hidden_size), inside = matrix(work.inside, width);
  const Matrix gate_up = matrix(a.gate_up, 2 * width), normed = matrix(work.normed, config.hidden_size);
  device.multiply(operand, dy, values(layer.down), inside);
  ops.swiglu_backward(a.gate_up, work.inside, work.rows(), width);
  add_gradient(layer.down, dy, inside, fresh);
  ops.scale_rows(a.middle, a.middle_scale, weight_of(layer.post_norm), work.rows(), config.hidden_size,
                 work.normed);
  add_gradient(layer.gate_up, gate_up, normed, fresh);
  device.multiply(operand, gate_up, values(layer.gate_up), matrix(work.result, config.hidden_size));
  backward_norm(a.middle, a.middle_scale, layer.post_norm);
}

void Llama::Impl::backward_attention(const Layer& layer, const Activations& a) {
  const auto& shape = work.attention();
  const Matrix dy = matrix(dstream(), config.hidden_size), mixed = matrix(a.mixed, config.query_rows());
  const Matrix dqkv = matrix(work.dqkv, shape.row()), normed = matrix(work.normed, config.hidden_size);
  add_gradient(layer.output, dy, mixed, fresh);
  device.multiply(operand, dy, values(layer.output), matrix(work.result, config.query_rows()));
  ops.attention_backward(a.qkv, a.mixed, work.result, a.lse, shape, work.dqkv, work.attention_scratch);
  ops.rotate(work.dqkv, shape, work.cosine, work.sine, -1);
  ops.scale_rows(a.input, a.input_scale, weight_of(layer.input_norm), work.rows(), config.hidden_size,
                 work.normed);
  add_gradient(layer.qkv, dqkv, normed, fresh);
  device.multiply(operand, dqkv, values(layer.qkv), matrix(work.result, config.hidden_size));
  backward_norm(a.input, a.input_scale, layer.input_norm);
}

Llama::Llama(const Config& config, const Layout& layout, Storage& storage, bool checkpointing, Device& device)
    : impl_(std::make_unique<Impl>(config, layout, storage, checkpointing, device)) {}

Llama::~Llama() = default;

double Llama::forward_backward(std::span<const std::int64_t> tokens, std::int64_t batch, double scale) {
  return impl_->run(tokens, batch, scale, true);
}

double Llama::forward(std::span<const std::int64_t> tokens, std::int64_t batch, double scale) {
  return impl_->run(tokens, batch, scale, false);
}

void Llama::idle() {
  auto& storage = impl_->storage;
  const std::size_t layers = impl_->layers.size(), head = impl_->head_unit;
  const auto pass = [&](std::size_t unit) {
    impl_->enter_gradients(unit);
    if (impl_->fresh) impl_->clear(impl_->gradients, static_cast<std::int64_t>(impl_->units[unit].size()));
    storage.complete(unit);
  };
  for (std::size_t unit = 0; unit <= layers; ++unit) storage.parameters(unit);
  storage.parameters(head);
  if (head != 0) pass(head);
  for (std::size_t unit = layers; unit > 0; --unit) {
    storage.parameters(unit);
    pass(unit);
  }
  pass(0);
}

Operand operand_of(const Config& config, const Device& device) {
  if (config.fp16) return Operand::kHalf;
  return config.bf16 ? device.bf16() : Operand::kFloat;
}

void initialize(const Config& config, const Layout& layout, std::uint64_t seed, std::size_t unit,
                std::span<float> parameters) {
  const Unit& whole = layout.units()[unit];
  std::fill(parameters.begin(), parameters.end(), 0.0f);
  for (const auto& p : layout.parameters()) {
    if (p.offset < whole.begin || p.offset >= whole.end) continue;
    const auto values = parameters.subspan(p.offset - whole.begin, p.count);
    if (p.is_norm())
      std::fill(values.begin(), values.end(), 1.0f);
    else
      fill_normal(values, seed, p.name, config.initializer_range);
  }
}

void initialize(const Config& config, const Layout& layout, std::uint64_t seed, std::span<float> parameters) {
  for (std::size_t unit = 0; unit < layout.units().size(); ++unit)
    initialize(config, layout, seed, unit,
               parameters.subspan(layout.units()[unit].begin, layout.units()[unit].size()));
}

}  // namespace stint::model
