// SPDX-License-Identifier: Apache-2.0
// What every web page of stintd shares: escaping, the frame with its style, times for people. Pure.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace stint::reservations {

// Safe between tags and inside quoted attributes; bytes that are no printable text become '?'.
std::string escaped(std::string_view text);

// A whole page. `body` is HTML; `title` is text. The page asks nothing of any other host and runs no script.
std::string framed(std::string_view title, std::string_view body, std::chrono::sys_seconds now);

// "Mon 23 Nov 18:00", local time; with the year where it is not that of `now`.
std::string people_time(std::chrono::sys_seconds time, std::chrono::sys_seconds now);
// "3 d 4 h", "2 h 10 min", "45 s": the two largest units that count.
std::string people_span(std::chrono::seconds span);
// At most `longest` characters; what is longer ends in "…".
std::string shortened(std::string_view text, std::size_t longest);

}  // namespace stint::reservations
