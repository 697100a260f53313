// SPDX-License-Identifier: Apache-2.0
#include "reservations/local_time.h"

#include <fmt/format.h>

#include <ctime>

namespace stint::reservations {

using std::chrono::seconds;
using std::chrono::sys_seconds;

namespace {

// Of the day that has this noon: where the clock changes in its small hours, it has more or less than twelve
// hours before; where it changes at midnight, it may begin at 01:00.
sys_seconds first_second(sys_seconds noon) {
  const int day = local_time(noon).day;
  auto before = noon - seconds{20 * 3600};
  auto within = noon;
  while (within - before > seconds{1}) {
    const auto middle = before + (within - before) / 2;
    (local_time(middle).day == day ? within : before) = middle;
  }
  return within;
}

}  // namespace

LocalTime local_time(sys_seconds time) {
  const std::time_t raw = time.time_since_epoch().count();
  std::tm fields{};
  ::localtime_r(&raw, &fields);
  LocalTime local;
  local.year = fields.tm_year + 1900;
  local.month = fields.tm_mon + 1;
  local.day = fields.tm_mday;
  local.weekday = fields.tm_wday;
  local.of_day = seconds{fields.tm_hour * 3600 + fields.tm_min * 60 + fields.tm_sec};
  local.offset = seconds{fields.tm_gmtoff};
  return local;
}

sys_seconds local_midnight(int year, int month, int day) {
  std::tm fields{};
  fields.tm_year = year - 1900;
  fields.tm_mon = month - 1;
  fields.tm_mday = day;
  fields.tm_hour = 12;
  fields.tm_isdst = -1;
  const sys_seconds noon{seconds{::mktime(&fields)}};
  const auto midnight = noon - seconds{12 * 3600};
  if (local_time(midnight).of_day == seconds{}) return midnight;
  return first_second(noon);
}

sys_seconds start_of_day(sys_seconds time) {
  const auto local = local_time(time);
  return local_midnight(local.year, local.month, local.day);
}

sys_seconds next_day(sys_seconds time) {
  const auto local = local_time(time);
  return local_midnight(local.year, local.month, local.day + 1);
}

sys_seconds start_of_month(sys_seconds time) {
  const auto local = local_time(time);
  return local_midnight(local.year, local.month, 1);
}

sys_seconds next_month(sys_seconds time) {
  const auto local = local_time(time);
  return local_midnight(local.year, local.month + 1, 1);
}

std::string month_text(sys_seconds time) {
  const auto local = local_time(time);
  return fmt::format("{:04}-{:02}", local.year, local.month);
}

}  // namespace stint::reservations
