// SPDX-License-Identifier: Apache-2.0
// Whether a text shows as one line wherever it is printed, and how to make it so. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace stint {

// False when the text holds a control character (C0 with tab, DEL, C1) or Unicode's line or paragraph
// separator. Expects UTF-8; other bytes count as letters.
bool fits_one_line(std::string_view text);

// The text with one blank for each run of such characters and the blanks around it, and none for one at an
// end; cut off after `most` bytes.
std::string as_one_line(std::string_view text, std::size_t most);

}  // namespace stint
