// SPDX-License-Identifier: Apache-2.0
#include "far_device.h"

#include <sys/mman.h>

#include <map>
#include <mutex>

#include "trainer/model/aten.h"

namespace stint::model {
namespace {

// All there is of either device; operations may ask for others, and threads for some at once.
struct Pages {
  std::recursive_mutex mutex;
  std::map<void*, std::size_t> blocks;  // address and size
  int open = 0;
};
Pages& pages() {
  static Pages all;
  return all;
}

class Open {
 public:
  Open() : lock_(pages().mutex) {
    if (pages().open++ == 0) protect(PROT_READ | PROT_WRITE);
  }
  ~Open() {
    if (--pages().open == 0) protect(PROT_NONE);
  }
  Open(const Open&) = delete;
  Open& operator=(const Open&) = delete;

 private:
  static void protect(int rights) {
    for (const auto& [memory, bytes] : pages().blocks) mprotect(memory, bytes, rights);
  }
  std::unique_lock<std::recursive_mutex> lock_;
};

Device& near_aten() {
  static const auto device = aten::make_device(false);
  return *device;
}

template <Device& (*near)(), Operand kOperand, auto kMember, typename = decltype(kMember)>
struct Opened;
template <Device& (*near)(), Operand kOperand, auto kMember, typename... Arguments>
struct Opened<near, kOperand, kMember, void (*Kernels::*)(Arguments...)> {
  static void call(Arguments... arguments) {
    const Open open;
    (near().kernels(kOperand).*kMember)(arguments...);
  }
};

template <Device& (*near)(), Operand o>
constexpr Kernels kOpened{"far",
                          Opened<near, o, &Kernels::to_operand>::call,
                          Opened<near, o, &Kernels::to_floats>::call,
                          Opened<near, o, &Kernels::add>::call,
                          Opened<near, o, &Kernels::gather>::call,
                          Opened<near, o, &Kernels::scatter_add>::call,
                          Opened<near, o, &Kernels::rms_norm>::call,
                          Opened<near, o, &Kernels::scale_rows>::call,
                          Opened<near, o, &Kernels::rms_norm_backward>::call,
                          Opened<near, o, &Kernels::rotate>::call,
                          Opened<near, o, &Kernels::attention>::call,
                          Opened<near, o, &Kernels::attention_backward>::call,
                          Opened<near, o, &Kernels::swiglu>::call,
                          Opened<near, o, &Kernels::swiglu_backward>::call,
                          Opened<near, o, &Kernels::cross_entropy>::call,
                          Opened<near, o, &Kernels::sums_of_squares>::call,
                          Opened<near, o, &Kernels::adamw>::call};

template <Device& (*near)()>
class FarDevice final : public Device {
 public:
  Operand bf16() const override { return near().bf16(); }
  const Kernels& kernels(Operand operand) const override {
    (void)near().kernels(operand);  // may refuse
    if (operand == Operand::kBf16) return kOpened<near, Operand::kBf16>;
    if (operand == Operand::kRounded) return kOpened<near, Operand::kRounded>;
    if (operand == Operand::kHalf) return kOpened<near, Operand::kHalf>;
    return kOpened<near, Operand::kFloat>;
  }
  void multiply(Operand type, const Matrix& a, const Matrix& b, const Matrix& out, bool adds) override {
    const Open open;
    near().multiply(type, a, b, out, adds);
  }

  void* allocate(std::size_t bytes) override {
    const std::lock_guard lock(pages().mutex);
    void* memory = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    pages().blocks[memory] = bytes;
    return memory;
  }
  void release(void* memory, std::size_t bytes) override {
    const std::lock_guard lock(pages().mutex);
    pages().blocks.erase(memory);
    munmap(memory, bytes);
  }
  void clear(void* memory, std::size_t bytes) override {
    const Open open;
    near().clear(memory, bytes);
  }
  void copy(void* to, const void* from, std::size_t bytes) override {
    const Open open;
    near().copy(to, from, bytes);
  }
  void put(void* to, const void* from, std::size_t bytes) override {
    const Open open;
    near().put(to, from, bytes);
  }
  void get(void* to, const void* from, std::size_t bytes) override {
    const Open open;
    near().get(to, from, bytes);
  }
  std::int64_t peak_memory() const override { return near().peak_memory(); }
};

}  // namespace

Device& far_device() {
  static FarDevice<near_aten> device;
  return device;
}

Device& far_loops() {
  static FarDevice<cpu> device;
  return device;
}

}  // namespace stint::model
