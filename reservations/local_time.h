// SPDX-License-Identifier: Apache-2.0
// Local time as people read a clock and a calendar: the zone of the process (TZ). Safe from several threads.
#pragma once

#include <chrono>
#include <string>

namespace stint::reservations {

struct LocalTime {
  int year = 0;
  int month = 0;    // 1 to 12
  int day = 0;      // 1 to 31
  int weekday = 0;  // 0: Sunday
  std::chrono::seconds of_day{};
  std::chrono::seconds offset{};  // from UTC
};

LocalTime local_time(std::chrono::sys_seconds time);

// The first second of a local day, which is not always 00:00; month and day may lie beyond their range, as in
// mktime(3).
std::chrono::sys_seconds local_midnight(int year, int month, int day);
std::chrono::sys_seconds start_of_day(std::chrono::sys_seconds time);
std::chrono::sys_seconds next_day(std::chrono::sys_seconds time);
std::chrono::sys_seconds start_of_month(std::chrono::sys_seconds time);
std::chrono::sys_seconds next_month(std::chrono::sys_seconds time);

// "2026-11"
std::string month_text(std::chrono::sys_seconds time);

}  // namespace stint::reservations
