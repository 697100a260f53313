// SPDX-License-Identifier: Apache-2.0
#include "base/gres.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "base/text.h"

namespace stint {
namespace {

constexpr int kMostGpus = 1'000'000;  // more than that is no number of GPUs, and sums must not overflow

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

// "gres:gpu:8", "gres/gpu:8" of a job; a node's have none.
std::string without_prefix(const std::string& word) {
  return word.starts_with("gres:") || word.starts_with("gres/") ? word.substr(5) : word;
}

// Of one word; "gpu" and "gpu:a100" are one.
int count_of(const std::string& word) {
  const std::string last = word.substr(word.rfind(':') + 1);
  if (last.empty() || last.find_first_not_of("0123456789") != std::string::npos) return 1;
  int count = kMostGpus;
  const auto [end, error] = std::from_chars(last.data(), last.data() + last.size(), count);
  return error == std::errc() ? std::min(count, kMostGpus) : kMostGpus;
}

}  // namespace

int count_gpus(std::string_view gres) {
  int gpus = 0;
  for (const std::string& part : split(without_brackets(gres), ',')) {
    const std::string word = without_prefix(part);
    if (word != "gpu" && !word.starts_with("gpu:")) continue;
    gpus = std::min(kMostGpus, gpus + count_of(word));
  }
  return gpus;
}

}  // namespace stint
