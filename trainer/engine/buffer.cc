// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/buffer.h"

#include <algorithm>

#include "base/final_error.h"

namespace stint::engine {

Buffer::Buffer(std::size_t floats, model::Device& device) : floats_(floats), device_(&device) {
  if (floats == 0) return;
  data_ = static_cast<float*>(device.allocate(floats * sizeof(float)));
  if (data_ != nullptr) return;
  fail_finally("memory: cannot get {} MiB {}for the training state; take a smaller model{}",
               floats * sizeof(float) >> 20, device.is_host() ? "" : "of the GPU's ",
               device.is_host() ? "" : ", or cut its state among more GPUs (parallel.sharding = zero3)");
}

std::size_t Buffer::room_for(std::size_t floats) {
  constexpr std::size_t kLine = 64;
  return (floats * sizeof(float) + kLine - 1) / kLine * kLine;
}

Buffer Buffer::within(std::span<std::byte>& room, std::size_t floats, model::Device& device) {
  if (room_for(floats) > room.size()) return Buffer(floats, device);
  Buffer buffer;
  buffer.data_ = reinterpret_cast<float*>(room.data());
  buffer.floats_ = floats;
  buffer.lent_ = true;
  buffer.device_ = &device;
  room = room.subspan(room_for(floats));
  device.clear(buffer.data_, floats * sizeof(float));
  return buffer;
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(floats_, other.floats_);
  std::swap(lent_, other.lent_);
  std::swap(device_, other.device_);
  return *this;
}

Buffer::~Buffer() {
  if (data_ != nullptr && !lent_) device_->release(data_, floats_ * sizeof(float));
}

}  // namespace stint::engine
