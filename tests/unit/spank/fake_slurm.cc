// SPDX-License-Identifier: Apache-2.0
#include "fake_slurm.h"

#include <gtest/gtest.h>

#include <cstdarg>
#include <cstdlib>
#include <cstring>

namespace stint::spank {

FakeSlurm& fake_slurm() {
  static FakeSlurm slurm;
  return slurm;
}

namespace {

constexpr spank_err_t kDone = static_cast<spank_err_t>(ESPANK_SUCCESS);

std::string formatted(const char* format, va_list arguments) {
  char line[4096];
  // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): the callers have started it
  std::vsnprintf(line, sizeof line, format, arguments);
  return line;
}

}  // namespace
}  // namespace stint::spank

using stint::spank::fake_slurm;
using stint::spank::kDone;

#define HOST_ABI __attribute__((visibility("default")))

extern "C" {

HOST_ABI slurm_conf_t slurm_conf;

HOST_ABI char* slurm_xstrdup(const char* text) {
  char* copy = ::strdup(text);
  fake_slurm().strings.insert(copy);
  return copy;
}

HOST_ABI void slurm_xfree(void** item) {
  if (!*item) return;
  EXPECT_EQ(fake_slurm().strings.erase(*item), 1u) << "freed a string that is not Slurm's";
  std::free(*item);
  *item = nullptr;
}

HOST_ABI void slurm_info(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fake_slurm().infos.push_back(stint::spank::formatted(format, arguments));
  va_end(arguments);
}

HOST_ABI void slurm_error(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fake_slurm().errors.push_back(stint::spank::formatted(format, arguments));
  std::fprintf(stderr, "%s\n", fake_slurm().errors.back().c_str());
  va_end(arguments);
}

HOST_ABI bool validate_operator(uid_t uid) {
  return fake_slurm().operators.contains(uid);
}

HOST_ABI spank_context_t spank_context(void) {
  return fake_slurm().context;
}

HOST_ABI spank_err_t spank_option_register(spank_t, struct spank_option* option) {
  if (fake_slurm().refuse_options) return static_cast<spank_err_t>(ESPANK_BAD_ARG);
  fake_slurm().options.push_back(*option);
  return kDone;
}

HOST_ABI spank_err_t spank_job_control_setenv(spank_t, const char* name, const char* value, int) {
  fake_slurm().control[name] = value;
  return kDone;
}

HOST_ABI spank_err_t spank_job_control_unsetenv(spank_t, const char* name) {
  fake_slurm().control.erase(name);
  return kDone;
}

}  // extern "C"
