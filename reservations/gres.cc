// SPDX-License-Identifier: Apache-2.0
#include "reservations/gres.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "base/text.h"

namespace stint::reservations {
namespace {

// "(S:0,2)" tells of sockets, and its commas part nothing.
std::string without_brackets(std::string_view gres) {
  std::string plain;
  int depth = 0;
  for (const char c : gres) {
    if (c == '(') ++depth;
    if (depth == 0) plain += c;
    if (c == ')') depth = std::max(0, depth - 1);
  }
  return plain;
}

}  // namespace

int count_gpus(std::string_view gres) {
  int gpus = 0;
  for (const std::string& word : split(without_brackets(gres), ',')) {
    if (word != "gpu" && !word.starts_with("gpu:")) continue;
    const auto last = word.substr(word.rfind(':') + 1);
    int count = 0;
    const auto [end, error] = std::from_chars(last.data(), last.data() + last.size(), count);
    const bool is_count = error == std::errc() && end == last.data() + last.size() && count >= 0;
    gpus += is_count ? count : 1;  // "gpu", "gpu:a100"
  }
  return gpus;
}

}  // namespace stint::reservations
