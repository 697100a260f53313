// SPDX-License-Identifier: Apache-2.0
#include "base/one_line.h"

namespace stint {
namespace {

bool begins_with_break(std::string_view rest) {
  const auto first = static_cast<unsigned char>(rest.front());
  if (first < 0x20 || first == 0x7F) return true;
  if (rest.starts_with("\xE2\x80\xA8") || rest.starts_with("\xE2\x80\xA9")) return true;
  // U+0080 to U+009F, NEL among them.
  return first == 0xC2 && rest.size() > 1 && static_cast<unsigned char>(rest[1]) < 0xA0;
}

}  // namespace

bool fits_one_line(std::string_view text) {
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (begins_with_break(text.substr(at))) return false;
  }
  return true;
}

}  // namespace stint
