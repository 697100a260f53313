// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/aten.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/core/Allocator.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>

#include "trainer/model/aten_guard.h"

namespace stint::model::aten {
namespace {

using at::Tensor;

Tensor bytes_at(const void* memory, std::size_t bytes, at::DeviceType device) {
  return at::from_blob(const_cast<void*>(memory), {static_cast<std::int64_t>(bytes)},
                       at::TensorOptions(at::kByte).device(device));
}

void multiply_on(at::DeviceType device, Operand type, const Matrix& a, const Matrix& b, const Matrix& out,
                 bool adds) {
  const auto view = [&](const Matrix& m) {
    const auto options = at::TensorOptions(type == Operand::kBf16 ? at::kBFloat16 : at::kFloat);
    return at::from_blob(m.data, {m.rows, m.columns}, {m.row_stride, m.column_stride},
                         options.device(device));
  };
  guarded([&] {
    auto result = view(out);
    if (adds)
      at::addmm_out(result, result, view(a), view(b));
    else
      at::mm_out(result, view(a), view(b));
  });
}

class AtenDevice final : public Device {
 public:
  // The first tensor makes torch prepare its memory there.
  explicit AtenDevice(bool gpu)
      : gpu_(gpu),
        type_(at::zeros({1}, gpu ? at::kCUDA : at::kCPU).device().type()),
        allocator_(c10::GetAllocator(type_)) {}

  Operand bf16() const override { return Operand::kBf16; }
  const Kernels& kernels(Operand operand) const override {
    if (operand == Operand::kHalf)
      throw DeviceFailure(
          "model.precision = fp16 is for CPUs; on a GPU take bf16, which has the range of fp32");
    return aten::kernels(gpu_, operand);
  }
  void multiply(Operand type, const Matrix& a, const Matrix& b, const Matrix& out, bool adds) override {
    multiply_on(type_, type, a, b, out, adds);
  }

  void* allocate(std::size_t bytes) override {
    void* memory = nullptr;
    try {
      memory = guarded([&] { return allocator_->raw_allocate(bytes); });
    } catch (const DeviceFailure&) {
      return nullptr;
    }
    held_ += static_cast<std::int64_t>(bytes);
    peak_ = std::max(peak_, held_);
    clear(memory, bytes);
    return memory;
  }
  void release(void* memory, std::size_t bytes) override {
    held_ -= static_cast<std::int64_t>(bytes);
    allocator_->raw_deallocate(memory);
  }
  void clear(void* memory, std::size_t bytes) override {
    guarded([&] { bytes_at(memory, bytes, type_).zero_(); });
  }
  void copy(void* to, const void* from, std::size_t bytes) override { copy(to, type_, from, type_, bytes); }
  void put(void* to, const void* from, std::size_t bytes) override { copy(to, type_, from, at::kCPU, bytes); }
  void get(void* to, const void* from, std::size_t bytes) override { copy(to, at::kCPU, from, type_, bytes); }
  std::int64_t peak_memory() const override { return peak_; }

  void go_aside() override {
    if (!gpu_) return;
    const Mark now = mark();
    guarded([&] {
      const c10::impl::VirtualGuardImpl device(type_);
      device.exchangeStream(device.getStreamFromGlobalPool(device.getDevice()));
    });
    wait_for(now);
  }
  Mark mark() override {
    if (!gpu_) return nullptr;
    return guarded([&] {
      auto event = std::make_shared<c10::Event>(type_);
      event->record(current_stream());
      return event;
    });
  }
  void wait_for(const Mark& moment) override {
    if (moment != nullptr) guarded([&] { static_cast<c10::Event*>(moment.get())->block(current_stream()); });
  }

 private:
  c10::Stream current_stream() const {
    const c10::impl::VirtualGuardImpl device(type_);
    return device.getStream(device.getDevice());
  }
  static void copy(void* to, at::DeviceType to_device, const void* from, at::DeviceType from_device,
                   std::size_t bytes) {
    guarded([&] { bytes_at(to, bytes, to_device).copy_(bytes_at(from, bytes, from_device)); });
  }

  bool gpu_;
  at::DeviceType type_;
  c10::Allocator* allocator_;
  std::int64_t held_ = 0, peak_ = 0;
};

}  // namespace

void start(int threads) {
  at::globalContext().setFlushDenormal(true);
  at::set_num_threads(threads);
}

void multiply(Operand type, const Matrix& a, const Matrix& b, const Matrix& out, bool adds) {
  multiply_on(at::kCPU, type, a, b, out, adds);
}

std::string own_blas() {
  return at::hasMKL() ? at::get_mkl_version() : std::string();
}

bool is_for_gpus() {
  return at::globalContext().hasCUDART();
}

std::unique_ptr<Device> make_device(bool gpu) {
  if (gpu && !is_for_gpus())
    throw DeviceFailure(
        "this build's torch computes on CPUs only; build with a libtorch for CUDA (cmake -DSTINT_TORCH=)");
  if (gpu && !at::hasCUDA())
    throw DeviceFailure(
        "torch finds no GPU that it can use; see what nvidia-smi says, and CUDA_VISIBLE_DEVICES");
  return guarded([&] { return std::make_unique<AtenDevice>(gpu); });
}

}  // namespace stint::model::aten
