// SPDX-License-Identifier: Apache-2.0
// The operations of kernels.h on ATen's operators, for any device that torch computes on. Whatever is not an
// operand is in fp32. Each allocates what it needs from torch and is queued where torch queues its own.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

#include "trainer/model/aten.h"
#include "trainer/model/aten_guard.h"

// Flash attention that returns the denominators' logarithms came with torch 2.
#if __has_include(<ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>)
#define STINT_FLASH_ATTENTION
#endif

namespace stint::model::aten {
namespace {

using at::Tensor;

template <at::DeviceType kDevice, at::ScalarType kType>
struct Ops {
  static Tensor view(const void* data, at::IntArrayRef sizes, at::ScalarType type) {
    return at::from_blob(const_cast<void*>(data), sizes, at::TensorOptions(type).device(kDevice));
  }
  static Tensor operands(const void* data, at::IntArrayRef sizes) { return view(data, sizes, kType); }
  static Tensor floats(const float* data, at::IntArrayRef sizes) { return view(data, sizes, at::kFloat); }
  static Tensor widened(const void* data, at::IntArrayRef sizes) {
    return operands(data, sizes).to(at::kFloat);
  }

  static void to_operand(const float* x, std::int64_t count, void* operand) {
    operands(operand, {count}).copy_(floats(x, {count}));
  }

  static void to_floats(const void* operand, std::int64_t count, float* y) {
    floats(y, {count}).copy_(operands(operand, {count}));
  }

  static void add(const void* operand, std::int64_t count, float* y) {
    floats(y, {count}).add_(operands(operand, {count}));
  }

  static void gather(const void* table, const std::int64_t* index, std::int64_t rows, std::int64_t width,
                     float* out) {
    const auto wanted = view(index, {rows}, at::kLong);
    // How many rows the table has does not matter to the operator but for its check of the index.
    const auto all = operands(table, {std::numeric_limits<std::int32_t>::max(), width});
    floats(out, {rows, width}).copy_(all.index_select(0, wanted));
  }

  // On a GPU, too, in the order of the rows: torch sorts them.
  static void scatter_add(const float* in, const std::int64_t* index, std::int64_t rows, std::int64_t width,
                          float* table) {
    auto all = floats(table, {std::numeric_limits<std::int32_t>::max(), width});
    all.index_put_({view(index, {rows}, at::kLong)}, floats(in, {rows, width}), true);
  }

  static Tensor scaled(const Tensor& x, const Tensor& scale, const float* weight) {
    return x * scale.unsqueeze(1) * floats(weight, {x.size(1)});
  }

  static void rms_norm(const float* x, const void* delta, const float* weight, float eps, std::int64_t rows,
                       std::int64_t width, float* sum, float* scale, void* out) {
    auto both = floats(x, {rows, width});
    if (delta != nullptr) {
      auto total = floats(sum, {rows, width});
      both = at::add_out(total, both, operands(delta, {rows, width}));
    }
    auto scales = floats(scale, {rows});
    scales.copy_(both.square().mean(1).add_(eps).rsqrt_());
    operands(out, {rows, width}).copy_(scaled(both, scales, weight));
  }

  static void scale_rows(const float* x, const float* scale, const float* weight, std::int64_t rows,
                         std::int64_t width, void* out) {
    operands(out, {rows, width}).copy_(scaled(floats(x, {rows, width}), floats(scale, {rows}), weight));
  }

  // With y = s x w and s = 1 / sqrt(mean(x^2) + eps): dx = s w dy - x s^3 / n * sum(w dy x), dw = dy s x.
  static void rms_norm_backward(const void* dy, const float* x, const float* scale, const float* weight,
                                std::int64_t rows, std::int64_t width, float* dx, float* dweight, void* copy,
                                float*) {
    const auto in = floats(x, {rows, width}), scales = floats(scale, {rows}).unsqueeze(1);
    const auto g = operands(dy, {rows, width}) * scales;
    floats(dweight, {width}).add_((g * in).sum(0));
    const auto by_normed = g * floats(weight, {width});
    const auto back = (by_normed * in).sum(1, true) * scales.square() / static_cast<double>(width);
    auto stream = floats(dx, {rows, width});
    stream.add_(by_normed - in * back);
    if (copy != nullptr) operands(copy, {rows, width}).copy_(stream);
  }

  static void rotate(void* operand, const AttentionShape& s, const float* cosine, const float* sine,
                     float direction) {
    const std::int64_t half = s.head_size / 2;
    auto heads = operands(operand, {s.batch, s.length, s.heads + 2 * s.key_value_heads, s.head_size})
                     .narrow(2, 0, s.heads + s.key_value_heads);
    auto low = heads.narrow(3, 0, half), high = heads.narrow(3, half, half);
    const auto c = floats(cosine, {s.length, 1, half}), turn = floats(sine, {s.length, 1, half}) * direction;
    const auto a = low * c - high * turn, b = high * c + low * turn;
    low.copy_(a);
    high.copy_(b);
  }

  static void swiglu(const void* gate_up, std::int64_t rows, std::int64_t width, void* out) {
    const auto both = widened(gate_up, {rows, 2, width});
    const auto gate = both.select(1, 0);
    operands(out, {rows, width}).copy_(gate * gate.sigmoid() * both.select(1, 1));
  }

  static void swiglu_backward(void* gate_up, void* out, std::int64_t rows, std::int64_t width) {
    auto both = operands(gate_up, {rows, 2, width}), inside = operands(out, {rows, width});
    const auto gate = both.select(1, 0).to(at::kFloat), up = both.select(1, 1).to(at::kFloat);
    const auto dy = inside.to(at::kFloat), s = gate.sigmoid(), silu = gate * s;
    const auto dgate = dy * up * s * (1 + gate * (1 - s)), dup = dy * silu, y = silu * up;
    both.select(1, 0).copy_(dgate);
    both.select(1, 1).copy_(dup);
    inside.copy_(y);
  }

  static void cross_entropy(void* logits, const std::int64_t* target, std::int64_t rows, std::int64_t width,
                            float derivative, double* losses, float*) {
    auto all = operands(logits, {rows, width});
    const auto wanted = view(target, {rows}, at::kLong).unsqueeze(1);
    const auto log_shares = at::log_softmax(all.to(at::kFloat), 1);
    view(losses, {rows}, at::kDouble).copy_(log_shares.gather(1, wanted).squeeze(1).neg());
    if (derivative == 0) return;
    auto shares = log_shares.exp();
    shares.scatter_add_(1, wanted, at::full({1, 1}, -1, shares.options()).expand({rows, 1}));
    all.copy_(shares * derivative);
  }

  // In an order of our own, the same on every device: the halves of a tile are added until one value is left.
  // Some tiles at once, which bounds what is taken beside.
  static void sums_of_squares(const float* values, std::int64_t count, double* sums) {
    constexpr std::int64_t kTiles = 256;
    for (std::int64_t begin = 0; begin < count; begin += kTiles * kSumTile) {
      const std::int64_t length = std::min(kTiles * kSumTile, count - begin);
      const std::int64_t tiles = (length + kSumTile - 1) / kSumTile;
      auto squares = at::zeros({tiles * kSumTile}, at::TensorOptions(at::kDouble).device(kDevice));
      squares.narrow(0, 0, length).copy_(floats(values + begin, {length})).square_();
      squares = squares.view({tiles, kSumTile});
      for (std::int64_t half = kSumTile / 2; half > 0; half /= 2)
        squares = squares.narrow(1, 0, half) + squares.narrow(1, half, half);
      view(sums + begin / kSumTile, {tiles, 1}, at::kDouble).copy_(squares);
    }
  }

  static void adamw(const AdamWScalars& s, std::int64_t count, float* parameters, const float* gradients,
                    float* exp_avg, float* exp_avg_sq, void* operand) {
    auto p = floats(parameters, {count}), m = floats(exp_avg, {count}), v = floats(exp_avg_sq, {count});
    {
      const auto g = floats(gradients, {count}) * s.factor;
      m.mul_(s.beta1).add_(g, s.rest1);
      v.mul_(s.beta2).addcmul_(g, g, s.rest2);
    }
    p.mul_(s.keep).addcdiv_(m, v.sqrt().mul_(s.correction2).add_(s.eps), -s.rate);
    if (operand != nullptr) operands(operand, {count}).copy_(p);
  }

  // q, k and v of a batch as [batch, heads, length, head_size], keys and values once for each query head.
  struct Heads {
    Tensor q, k, v;
  };
  static Heads heads_of(Tensor qkv, const AttentionShape& s) {
    const auto all = qkv.view({s.batch, s.length, -1, s.head_size}).transpose(1, 2);
    const std::int64_t shared = s.key_value_heads;
    return {all.narrow(1, 0, s.heads), all.narrow(1, s.heads, shared),
            all.narrow(1, s.heads + shared, shared)};
  }
  static Tensor repeated(const Tensor& shared, const AttentionShape& s) {
    return shared.repeat_interleave(s.heads / s.key_value_heads, 1);
  }
  static Tensor folded(const Tensor& all, const AttentionShape& s) {
    return all.view({s.batch, s.key_value_heads, -1, s.length, s.head_size}).sum(2);
  }
  static Tensor heads_in_rows(const void* data, const AttentionShape& s) {
    return operands(data, {s.batch, s.length, s.heads, s.head_size}).transpose(1, 2);
  }
  static Tensor logarithms(const float* lse, const AttentionShape& s) {
    return floats(lse, {s.heads, s.batch, s.length}).transpose(0, 1);
  }
  static void store(const Heads& d, const AttentionShape& s, void* dqkv) {
    auto to = heads_of(operands(dqkv, {s.batch * s.length, s.row()}), s);
    to.q.copy_(d.q);
    to.k.copy_(folded(d.k, s));
    to.v.copy_(folded(d.v, s));
  }

  // One sequence's weights [heads, length, length], from its scores and, where they are known, their
  // denominators' logarithms.
  static Tensor scores(const Tensor& q, const Tensor& k) {
    const double scale = 1 / std::sqrt(static_cast<double>(q.size(2)));
    const auto above = at::ones({q.size(1), q.size(1)}, q.options().dtype(at::kBool)).triu(1);
    return at::matmul(q, k.transpose(1, 2))
        .mul_(scale)
        .masked_fill_(above, -std::numeric_limits<double>::infinity());
  }

  static void plain_attention(const Heads& h, const AttentionShape& s, Tensor out, Tensor lse) {
    const auto k = repeated(h.k, s), v = repeated(h.v, s);
    for (std::int64_t b = 0; b < s.batch; ++b) {
      const auto score = scores(h.q[b].to(at::kFloat), k[b].to(at::kFloat));
      const auto total = score.logsumexp(2);
      lse[b].copy_(total);
      out[b].copy_(at::matmul((score - total.unsqueeze(2)).exp_(), v[b].to(at::kFloat)));
    }
  }

  static Heads plain_attention_backward(const Heads& h, const AttentionShape& s, const Tensor& out,
                                        const Tensor& dout, const Tensor& lse) {
    const double scale = 1 / std::sqrt(static_cast<double>(s.head_size));
    const auto k = repeated(h.k, s), v = repeated(h.v, s);
    std::vector<Tensor> dq, dk, dv;
    for (std::int64_t b = 0; b < s.batch; ++b) {
      const auto queries = h.q[b].to(at::kFloat), keys = k[b].to(at::kFloat), dy = dout[b].to(at::kFloat);
      const auto share = (scores(queries, keys) - lse[b].unsqueeze(2)).exp_();
      const auto dot = (dy * out[b]).sum(2, true);
      const auto dscore = share * (at::matmul(dy, v[b].to(at::kFloat).transpose(1, 2)) - dot) * scale;
      dq.push_back(at::matmul(dscore, keys));
      dk.push_back(at::matmul(dscore.transpose(1, 2), queries));
      dv.push_back(at::matmul(share.transpose(1, 2), dy));
    }
    return {at::stack(dq), at::stack(dk), at::stack(dv)};
  }

#if defined(STINT_FLASH_ATTENTION)
  static bool flashes(const AttentionShape& s) {
    return kType == at::kBFloat16 && s.head_size % 8 == 0 && s.head_size <= 256;
  }

  static std::tuple<Tensor, Tensor> flash(const Heads& h, const AttentionShape& s) {
    if constexpr (kDevice == at::kCPU)
      return at::_scaled_dot_product_flash_attention_for_cpu(h.q, repeated(h.k, s), repeated(h.v, s), 0.0,
                                                             true);
    auto all = at::_scaled_dot_product_flash_attention(h.q, repeated(h.k, s), repeated(h.v, s), 0.0, true);
    return {std::get<0>(all), std::get<1>(all)};
  }

  // Without dropout nothing reads the state of the random numbers.
  static std::tuple<Tensor, Tensor, Tensor> flash_backward(const Heads& h, const AttentionShape& s,
                                                           const Tensor& out, const Tensor& dout,
                                                           const Tensor& lse) {
    const auto k = repeated(h.k, s), v = repeated(h.v, s);
    if constexpr (kDevice == at::kCPU)
      return at::_scaled_dot_product_flash_attention_for_cpu_backward(dout, h.q, k, v, out, lse, 0.0, true);
    const auto none = at::empty({0}, lse.options().dtype(at::kInt));
    const auto random = at::zeros({2}, lse.options().dtype(at::kUInt64));
    return at::_scaled_dot_product_flash_attention_backward(dout, h.q, k, v, out, lse, none, none, s.length,
                                                            s.length, 0.0, true, random,
                                                            at::zeros({}, random.options()));
  }
#else
  static bool flashes(const AttentionShape&) {
    return false;
  }
  static std::tuple<Tensor, Tensor> flash(const Heads&, const AttentionShape&) {
    return {};
  }
  static std::tuple<Tensor, Tensor, Tensor> flash_backward(const Heads&, const AttentionShape&, const Tensor&,
                                                           const Tensor&, const Tensor&) {
    return {};
  }
#endif

  static void attention(const void* qkv, const AttentionShape& s, void* out, float* lse, float*) {
    const auto heads = heads_of(operands(qkv, {s.batch * s.length, s.row()}), s);
    auto mixed = heads_in_rows(out, s), logarithm = logarithms(lse, s);
    if (!flashes(s)) return plain_attention(heads, s, mixed, logarithm);
    const auto [found, total] = flash(heads, s);
    mixed.copy_(found);
    logarithm.copy_(total);
  }

  static void attention_backward(const void* qkv, const void* out, const void* dout, const float* lse,
                                 const AttentionShape& s, void* dqkv, float*) {
    const auto heads = heads_of(operands(qkv, {s.batch * s.length, s.row()}), s);
    const auto mixed = heads_in_rows(out, s), dy = heads_in_rows(dout, s), logarithm = logarithms(lse, s);
    if (!flashes(s)) return store(plain_attention_backward(heads, s, mixed, dy, logarithm), s, dqkv);
    const auto [dq, dk, dv] = flash_backward(heads, s, mixed, dy, logarithm.contiguous());
    store({dq, dk, dv}, s, dqkv);
  }
};

// What the table holds of a function: without derivatives, and with its exceptions as ours.
template <auto kFunction, typename = decltype(kFunction)>
struct Guarded;
template <auto kFunction, typename... Arguments>
struct Guarded<kFunction, void (*)(Arguments...)> {
  static void call(Arguments... arguments) {
    guarded([&] { kFunction(arguments...); });
  }
};

template <typename O>
constexpr Kernels table(const char* name) {
  return {name,
          Guarded<&O::to_operand>::call,
          Guarded<&O::to_floats>::call,
          Guarded<&O::add>::call,
          Guarded<&O::gather>::call,
          Guarded<&O::scatter_add>::call,
          Guarded<&O::rms_norm>::call,
          Guarded<&O::scale_rows>::call,
          Guarded<&O::rms_norm_backward>::call,
          Guarded<&O::rotate>::call,
          Guarded<&O::attention>::call,
          Guarded<&O::attention_backward>::call,
          Guarded<&O::swiglu>::call,
          Guarded<&O::swiglu_backward>::call,
          Guarded<&O::cross_entropy>::call,
          Guarded<&O::sums_of_squares>::call,
          Guarded<&O::adamw>::call};
}

template <at::DeviceType kDevice>
const Kernels& kernels_on(Operand operand) {
  static constexpr const char* kName = kDevice == at::kCPU ? "aten_cpu" : "aten_cuda";
  static constexpr Kernels kFloats = table<Ops<kDevice, at::kFloat>>(kName);
  static constexpr Kernels kBf16 = table<Ops<kDevice, at::kBFloat16>>(kName);
  return operand == Operand::kBf16 ? kBf16 : kFloats;
}

}  // namespace

const Kernels& kernels(bool gpu, Operand operand) {
  return gpu ? kernels_on<at::kCUDA>(operand) : kernels_on<at::kCPU>(operand);
}

}  // namespace stint::model::aten
