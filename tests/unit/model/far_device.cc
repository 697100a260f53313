// SPDX-License-Identifier: Apache-2.0
#include "far_device.h"

#include <sys/mman.h>

#include <map>

#include "trainer/model/aten.h"

namespace stint::model {
namespace {

// Address and size of what is allocated.
std::map<void*, std::size_t>& blocks() {
  static std::map<void*, std::size_t> all;
  return all;
}

class Open {
 public:
  Open() { protect(PROT_READ | PROT_WRITE); }
  ~Open() { protect(PROT_NONE); }
  Open(const Open&) = delete;
  Open& operator=(const Open&) = delete;

 private:
  static void protect(int rights) {
    for (const auto& [memory, bytes] : blocks()) mprotect(memory, bytes, rights);
  }
};

Device& near() {
  static const auto device = aten::make_device(false);
  return *device;
}

template <Operand kOperand, auto kMember, typename = decltype(kMember)>
struct Opened;
template <Operand kOperand, auto kMember, typename... Arguments>
struct Opened<kOperand, kMember, void (*Kernels::*)(Arguments...)> {
  static void call(Arguments... arguments) {
    const Open open;
    (near().kernels(kOperand).*kMember)(arguments...);
  }
};

template <Operand o>
constexpr Kernels kOpened{"far",
                          Opened<o, &Kernels::to_operand>::call,
                          Opened<o, &Kernels::add>::call,
                          Opened<o, &Kernels::gather>::call,
                          Opened<o, &Kernels::scatter_add>::call,
                          Opened<o, &Kernels::rms_norm>::call,
                          Opened<o, &Kernels::scale_rows>::call,
                          Opened<o, &Kernels::rms_norm_backward>::call,
                          Opened<o, &Kernels::rotate>::call,
                          Opened<o, &Kernels::attention>::call,
                          Opened<o, &Kernels::attention_backward>::call,
                          Opened<o, &Kernels::swiglu>::call,
                          Opened<o, &Kernels::swiglu_backward>::call,
                          Opened<o, &Kernels::cross_entropy>::call};

class FarDevice final : public Device {
 public:
  Operand bf16() const override { return near().bf16(); }
  const Kernels& kernels(Operand operand) const override {
    return operand == Operand::kBf16 ? kOpened<Operand::kBf16> : kOpened<Operand::kFloat>;
  }
  void multiply(Operand type, const Matrix& a, const Matrix& b, const Matrix& out, bool adds) override {
    const Open open;
    near().multiply(type, a, b, out, adds);
  }

  void* allocate(std::size_t bytes) override {
    void* memory = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    blocks()[memory] = bytes;
    return memory;
  }
  void release(void* memory, std::size_t bytes) override {
    blocks().erase(memory);
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
};

}  // namespace

Device& far_device() {
  static FarDevice device;
  return device;
}

}  // namespace stint::model
