// SPDX-License-Identifier: Apache-2.0
// What a model computes on: a CPU, or a GPU by way of torch. Its memory, which the host must not touch where
// it is a GPU's, its operations and its matrix products. All are done in the order in which they are asked
// for; on a GPU they may be under way when the call returns, and only get() waits. One thread asks for them;
// beside it others may call get(), go_aside() and wait_for().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>

#include "trainer/model/kernels/kernels.h"
#include "trainer/model/products.h"

namespace stint::model {

// One line of torch's. Operations and products of a device throw it; see explain().
struct DeviceFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// Throws it as FinalError with a remedy, where memory does not suffice, else as Error.
[[noreturn]] void explain(const DeviceFailure& failure);

class Device {
 public:
  virtual ~Device() = default;
  // Its memory is this process's, and what is asked for is done when the call returns, by any thread.
  virtual bool is_host() const { return false; }
  // The operands of a model that asks for bf16.
  virtual Operand bf16() const = 0;
  virtual const Kernels& kernels(Operand operand) const = 0;
  // As multiply() of products.h, but for what it throws.
  virtual void multiply(Operand type, const Matrix& a, const Matrix& b, const Matrix& out,
                        bool adds = false) = 0;

  // Zeroed, on a 64-byte line; null: there is no such memory.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* memory, std::size_t bytes) = 0;
  virtual void clear(void* memory, std::size_t bytes) = 0;
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;  // within the device
  virtual void put(void* to, const void* from_host, std::size_t bytes) = 0;
  virtual void get(void* to_host, const void* from, std::size_t bytes) = 0;
  // The most that was taken so far, in bytes: of this process's memory, or what was allocated here of a
  // GPU's.
  virtual std::int64_t peak_memory() const = 0;

  // The stream of CUDA that its work goes to; null: the default one, or there is none.
  virtual void* stream() { return nullptr; }
  // From now on what this thread asks for is done beside what others ask for, but after all that they have
  // asked for until now.
  virtual void go_aside() {}
  // A moment in what this thread has asked for. What another thread asks for once it waited for that moment
  // is done after it; the thread itself goes on at once.
  using Mark = std::shared_ptr<void>;
  virtual Mark mark() { return nullptr; }
  virtual void wait_for(const Mark& /*moment*/) {}
};

// The loops of kernels.h for the best vector unit there is, and this process's memory, in huge pages where
// the kernel has them. One for all, any number of threads.
Device& cpu();

}  // namespace stint::model
