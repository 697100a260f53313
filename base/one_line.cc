// SPDX-License-Identifier: Apache-2.0
#include "base/one_line.h"

#include <algorithm>

namespace stint {
namespace {

// How many bytes a break or control character at the beginning has; 0: there is none.
std::size_t break_length(std::string_view rest) {
  const auto first = static_cast<unsigned char>(rest.front());
  if (first < 0x20 || first == 0x7F) return 1;
  if (rest.starts_with("\xE2\x80\xA8") || rest.starts_with("\xE2\x80\xA9")) return 3;
  // U+0080 to U+009F, NEL among them.
  return first == 0xC2 && rest.size() > 1 && static_cast<unsigned char>(rest[1]) < 0xA0 ? 2 : 0;
}

}  // namespace

bool fits_one_line(std::string_view text) {
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (break_length(text.substr(at)) > 0) return false;
  }
  return true;
}

std::string as_one_line(std::string_view text, std::size_t most) {
  std::string line;
  bool gap = false;
  while (!text.empty() && line.size() < most) {
    const auto length = break_length(text);
    if (length > 0) {
      gap = true;
      line.erase(line.find_last_not_of(' ') + 1);
    } else if (!gap || text.front() != ' ') {
      if (gap && !line.empty()) line += ' ';
      gap = false;
      line += text.front();
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  const auto continues = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80; };
  if (!text.empty() && continues(text.front())) {  // no half of a character stays at the end
    while (!line.empty() && continues(line.back())) line.pop_back();
    if (!line.empty()) line.pop_back();
  }
  return line;
}

}  // namespace stint
