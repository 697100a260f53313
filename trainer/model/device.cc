// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/device.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <cstring>
#include <string>

#include "base/final_error.h"
#include "trainer/model/aten.h"

namespace stint::model {
namespace {

class Cpu final : public Device {
 public:
  bool is_host() const override { return true; }
  Operand bf16() const override { return bf16_operand(); }
  const Kernels& kernels(Operand operand) const override { return *kernels_of(operand).front(); }
  void multiply(Operand type, const Matrix& a, const Matrix& b, const Matrix& out, bool adds) override {
    aten::multiply(type, a, b, out, adds);
  }

  void* allocate(std::size_t bytes) override {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    madvise(memory, bytes, MADV_HUGEPAGE);  // only a hint
    return memory;
  }
  void release(void* memory, std::size_t bytes) override { munmap(memory, bytes); }
  void clear(void* memory, std::size_t bytes) override { std::memset(memory, 0, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void put(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void get(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  std::int64_t peak_memory() const override {
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    return std::int64_t{used.ru_maxrss} * 1024;
  }
};

}  // namespace

void explain(const DeviceFailure& failure) {
  const std::string line = failure.what();
  for (const char* words : {"allocate memory", "out of memory"})
    if (line.find(words) != std::string::npos)
      fail_finally("memory: {}; lower data.micro_batch_size or data.sequence_length", line);
  fail("model: {}", line);
}

Device& cpu() {
  static Cpu device;
  return device;
}

}  // namespace stint::model
