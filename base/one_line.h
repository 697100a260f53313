// SPDX-License-Identifier: Apache-2.0
// Whether a text shows as one line wherever it is printed. Pure.
#pragma once

#include <string_view>

namespace stint {

// False when the text holds a control character (C0 with tab, DEL, C1) or Unicode's line or paragraph
// separator. Expects UTF-8; other bytes count as letters.
bool fits_one_line(std::string_view text);

}  // namespace stint
