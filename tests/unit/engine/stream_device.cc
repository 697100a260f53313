// SPDX-License-Identifier: Apache-2.0
#include "stream_device.h"

#include <chrono>
#include <cstring>
#include <thread>

namespace stint::engine {
namespace {

using comm::gpu::CudaStream;
using model::Kernels;
using model::Operand;

thread_local StreamDevice* computing = nullptr;
thread_local CudaStream* aside = nullptr;

// Arguments are taken along by value: those in memory are the device's.
template <Operand kOperand, auto kMember, typename = decltype(kMember)>
struct Later;
template <Operand kOperand, auto kMember, typename... Arguments>
struct Later<kOperand, kMember, void (*Kernels::*)(Arguments...)> {
  static void call(Arguments... arguments) {
    computing->enqueue([=] { (model::cpu().kernels(kOperand).*kMember)(arguments...); });
  }
};

template <Operand o>
constexpr Kernels kLater{"stream",
                         Later<o, &Kernels::to_operand>::call,
                         Later<o, &Kernels::to_floats>::call,
                         Later<o, &Kernels::add>::call,
                         Later<o, &Kernels::gather>::call,
                         Later<o, &Kernels::scatter_add>::call,
                         Later<o, &Kernels::rms_norm>::call,
                         Later<o, &Kernels::scale_rows>::call,
                         Later<o, &Kernels::rms_norm_backward>::call,
                         Later<o, &Kernels::rotate>::call,
                         Later<o, &Kernels::attention>::call,
                         Later<o, &Kernels::attention_backward>::call,
                         Later<o, &Kernels::swiglu>::call,
                         Later<o, &Kernels::swiglu_backward>::call,
                         Later<o, &Kernels::cross_entropy>::call,
                         Later<o, &Kernels::sums_of_squares>::call,
                         Later<o, &Kernels::adamw>::call};

}  // namespace

StreamDevice::StreamDevice(const comm::gpu::CudaFunctions& cuda, int number) : cuda_(cuda), number_(number) {
  static_cast<void>(cuda.set_device(number));
  stream_ = comm::gpu::make_stream(cuda);
  computing = this;
  enqueue([] { model::start_mathematics(1); });
}

StreamDevice::~StreamDevice() {
  drain(stream_.get());
  computing = nullptr;
}

CudaStream* StreamDevice::own_stream() {
  static_cast<void>(cuda_.set_device(number_));
  return aside != nullptr ? aside : stream_.get();
}

// Now and then it takes its time, so that others come first where nothing holds them.
void StreamDevice::enqueue(std::function<void()> work) {
  const bool slow = ++asked_ % 11 == 0;
  comm::nccl_shim::enqueue(own_stream(), [work = std::move(work), slow] {
    if (slow) std::this_thread::sleep_for(std::chrono::microseconds(200));
    work();
  });
}

void StreamDevice::drain(CudaStream* stream) {
  std::promise<void> done;
  comm::nccl_shim::enqueue(stream, [&] { done.set_value(); });
  done.get_future().wait();
}

const Kernels& StreamDevice::kernels(Operand operand) const {
  if (operand == Operand::kBf16) return kLater<Operand::kBf16>;
  if (operand == Operand::kRounded) return kLater<Operand::kRounded>;
  return operand == Operand::kHalf ? kLater<Operand::kHalf> : kLater<Operand::kFloat>;
}

void StreamDevice::multiply(Operand type, const model::Matrix& a, const model::Matrix& b,
                            const model::Matrix& out, bool adds) {
  enqueue([=] { model::cpu().multiply(type, a, b, out, adds); });
}

void StreamDevice::release(void* memory, std::size_t bytes) {
  drain(own_stream());
  model::cpu().release(memory, bytes);
}

void StreamDevice::clear(void* memory, std::size_t bytes) {
  enqueue([=] { std::memset(memory, 0, bytes); });
}

void StreamDevice::copy(void* to, const void* from, std::size_t bytes) {
  enqueue([=] { std::memcpy(to, from, bytes); });
}

void StreamDevice::put(void* to, const void* from_host, std::size_t bytes) {
  const auto* first = static_cast<const std::byte*>(from_host);
  enqueue([to, values = std::vector<std::byte>(first, first + bytes)] {
    std::memcpy(to, values.data(), values.size());
  });
}

void StreamDevice::get(void* to_host, const void* from, std::size_t bytes) {
  CudaStream* const stream = own_stream();
  comm::nccl_shim::enqueue(stream, [=] { std::memcpy(to_host, from, bytes); });
  drain(stream);
}

void StreamDevice::go_aside() {
  const Mark now = mark();
  const std::lock_guard lock(mutex_);
  aside_.push_back(comm::gpu::make_stream(cuda_));
  aside = aside_.back().get();
  wait_for(now);
}

model::Device::Mark StreamDevice::mark() {
  CudaStream* const stream = own_stream();
  auto event = std::make_shared<comm::gpu::Event>(comm::gpu::make_event(cuda_));
  comm::gpu::check(cuda_, cuda_.event_record(event->get(), stream), "record");
  return event;
}

void StreamDevice::wait_for(const Mark& moment) {
  auto* const event = static_cast<comm::gpu::Event*>(moment.get())->get();
  comm::gpu::check(cuda_, cuda_.stream_wait(own_stream(), event, 0), "wait");
}

}  // namespace stint::engine
