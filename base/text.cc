// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <ctime>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "base/error.h"

namespace stint {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr std::int64_t kMinute = 60, kHour = 3600, kDay = 86400;
constexpr std::int64_t kLongestDuration = 3650 * kDay;
constexpr std::size_t kMaxHosts = 65536;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Decimal digits only, at most nine of them.
std::optional<std::int64_t> small_number(std::string_view text) {
  if (text.empty() || text.size() > 9 || !std::all_of(text.begin(), text.end(), is_digit))
    return std::nullopt;
  std::int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// Seconds of "h", "hour" or "hours".
std::optional<std::int64_t> unit_size(std::string_view word) {
  constexpr std::array<std::pair<std::string_view, std::int64_t>, 12> kUnits{{{"w", 7 * kDay},
                                                                              {"week", 7 * kDay},
                                                                              {"d", kDay},
                                                                              {"day", kDay},
                                                                              {"h", kHour},
                                                                              {"hour", kHour},
                                                                              {"m", kMinute},
                                                                              {"min", kMinute},
                                                                              {"minute", kMinute},
                                                                              {"s", 1},
                                                                              {"sec", 1},
                                                                              {"second", 1}}};
  if (word.size() > 2 && word.back() == 's') word.remove_suffix(1);
  for (const auto& [name, size] : kUnits) {
    if (name == word) return size;
  }
  return std::nullopt;
}

// "1h30m", "2hours": numbers with units, each unit once, from large to small.
std::optional<std::int64_t> units_duration(std::string_view text) {
  std::int64_t total = 0;
  std::int64_t last_size = std::numeric_limits<std::int64_t>::max();
  while (!text.empty()) {
    const std::size_t digits = std::find_if_not(text.begin(), text.end(), is_digit) - text.begin();
    const std::size_t end = std::find_if(text.begin() + digits, text.end(), is_digit) - text.begin();
    const auto number = small_number(text.substr(0, digits));
    const auto size = unit_size(text.substr(digits, end - digits));
    if (!number || !size || *size >= last_size) return std::nullopt;
    total += *number * *size;
    last_size = *size;
    text.remove_prefix(end);
  }
  return total;
}

// Slurm's: minutes, m:s, h:m:s, d-h, d-h:m, d-h:m:s.
std::optional<std::int64_t> slurm_duration(std::string_view text) {
  std::int64_t total = 0;
  const std::size_t dash = text.find('-');
  const bool has_days = dash != std::string_view::npos;
  if (has_days) {
    const auto days = small_number(text.substr(0, dash));
    if (!days) return std::nullopt;
    total = *days * kDay;
    text.remove_prefix(dash + 1);
  }
  std::vector<std::int64_t> fields;
  for (const std::string& part : split(text, ':')) {
    const auto number = small_number(part);
    if (!number || fields.size() == 3) return std::nullopt;
    fields.push_back(*number);
  }
  std::array<std::int64_t, 3> sizes = {kHour, kMinute, 1};
  const std::size_t first = has_days || fields.size() == 3 ? 0 : 1;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (i > 0 && fields[i] >= 60) return std::nullopt;
    total += fields[i] * sizes[first + i];
  }
  return total;
}

std::tm local(sys_seconds time) {
  const std::time_t raw = time.time_since_epoch().count();
  std::tm fields{};
  ::localtime_r(&raw, &fields);
  return fields;
}

bool same_fields(const std::tm& a, const std::tm& b) {
  return std::tie(a.tm_year, a.tm_mon, a.tm_mday, a.tm_hour, a.tm_min, a.tm_sec) ==
         std::tie(b.tm_year, b.tm_mon, b.tm_mday, b.tm_hour, b.tm_min, b.tm_sec);
}

// The local time of these fields; none when the calendar knows no such time. Refuses one that the clocks skip
// when they are put forward, unless that is over: then it is the time that they showed instead.
std::optional<sys_seconds> from_local(std::tm fields, sys_seconds now) {
  std::tm asked = fields;
  fields.tm_isdst = -1;
  const std::time_t raw = ::mktime(&fields);
  if (same_fields(asked, fields)) return sys_seconds(seconds(raw));
  const std::tm wanted = asked;
  const sys_seconds naive(seconds(::timegm(&asked)));
  if (!same_fields(wanted, asked)) return std::nullopt;
  const sys_seconds instead = naive - seconds(local(naive - std::chrono::days(1)).tm_gmtoff);
  if (instead < now) return instead;
  fail("{:04}-{:02}-{:02}T{:02}:{:02} does not exist: the clocks are put forward over it; {} does",
       wanted.tm_year + 1900, wanted.tm_mon + 1, wanted.tm_mday, wanted.tm_hour, wanted.tm_min,
       format_time(instead).substr(0, 16));
}

// The time of these fields so far east of Greenwich.
std::optional<sys_seconds> from_zone(std::tm fields, seconds east) {
  const std::tm asked = fields;
  const std::time_t raw = ::timegm(&fields);
  if (!same_fields(asked, fields)) return std::nullopt;
  return sys_seconds(seconds(raw)) - east;
}

// ISO's "Z", "+01:00" or "-0530" at the end of a clock, which loses it; none: the local zone.
std::optional<seconds> take_zone(std::string_view& clock) {
  if (clock.ends_with('Z')) {
    clock.remove_suffix(1);
    return seconds{};
  }
  const std::size_t sign = clock.find_first_of("+-");
  if (sign == std::string_view::npos) return std::nullopt;
  std::string digits(clock.substr(sign + 1));
  std::erase(digits, ':');
  const auto number = small_number(digits);
  if (!number || digits.size() != 4 || *number / 100 > 14 || *number % 100 > 59) return std::nullopt;
  const seconds east = std::chrono::hours(*number / 100) + std::chrono::minutes(*number % 100);
  const bool west = clock[sign] == '-';
  clock = clock.substr(0, sign);
  return west ? -east : east;
}

// "18:00" or "18:00:30" into the fields.
bool read_clock(std::string_view text, std::tm& fields) {
  const std::vector<std::string> parts = split(text, ':');
  if (parts.size() < 2 || parts.size() > 3) return false;
  std::array<int, 3> values{};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto number = small_number(parts[i]);
    if (!number || parts[i].size() > 2 || *number > (i == 0 ? 23 : 59)) return false;
    values[i] = static_cast<int>(*number);
  }
  std::tie(fields.tm_hour, fields.tm_min, fields.tm_sec) = std::tie(values[0], values[1], values[2]);
  return true;
}

// "2026-11-23" into the fields.
bool read_date(std::string_view text, std::tm& fields) {
  const std::vector<std::string> parts = split(text, '-');
  if (parts.size() != 3 || parts[0].size() != 4) return false;
  const auto year = small_number(parts[0]), month = small_number(parts[1]), day = small_number(parts[2]);
  if (!year || !month || !day) return false;
  fields.tm_year = static_cast<int>(*year) - 1900;
  fields.tm_mon = static_cast<int>(*month) - 1;
  fields.tm_mday = static_cast<int>(*day);
  return true;
}

std::optional<sys_seconds> next_clock_time(std::string_view text, sys_seconds now) {
  std::tm fields = local(now);
  if (!read_clock(text, fields)) return std::nullopt;
  const auto today = from_local(fields, now);
  if (today && *today >= now) return today;
  fields = local(now + std::chrono::days(1));
  read_clock(text, fields);
  return from_local(fields, now);
}

// 0 is today; none when the word is no day.
std::optional<int> days_ahead(std::string_view word, const std::tm& today) {
  constexpr std::array<std::string_view, 7> kDays = {"sunday",   "monday", "tuesday", "wednesday",
                                                     "thursday", "friday", "saturday"};
  if (word == "today") return 0;
  if (word == "tomorrow") return 1;
  for (int day = 0; day < 7; ++day) {
    const auto name = kDays[static_cast<std::size_t>(day)];
    if (word == name || word == name.substr(0, 3)) return (day - today.tm_wday + 7) % 7;
  }
  return std::nullopt;
}

// A date, a weekday, today or tomorrow, and a time of that day (none: its midnight). A weekday whose time is
// over is next week's.
std::optional<sys_seconds> calendar_time(std::string_view text, sys_seconds now) {
  const std::size_t mark = text.size() > 10 && text[10] == 'T' ? 10 : text.find(' ');
  std::string day(text.substr(0, mark));
  std::transform(day.begin(), day.end(), day.begin(), [](unsigned char c) { return std::tolower(c); });
  const auto at = [&](std::tm fields) -> std::optional<sys_seconds> {
    fields.tm_hour = fields.tm_min = fields.tm_sec = 0;
    if (mark == std::string_view::npos) return from_local(fields, now);
    std::string_view clock = trim(text.substr(mark + 1));
    const auto east = take_zone(clock);
    if (!read_clock(clock, fields)) return std::nullopt;
    return east ? from_zone(fields, *east) : from_local(fields, now);
  };
  std::tm fields{};
  if (read_date(day, fields)) return at(fields);
  const std::tm today = local(now);
  const auto ahead = days_ahead(day, today);
  if (!ahead) return std::nullopt;
  const auto noon_after = [&](int days) {  // noon: no clock change moves it to another day
    fields = today;
    fields.tm_hour = 12;
    return local(from_local(fields, now).value_or(now) + std::chrono::days(days));
  };
  auto time = at(noon_after(*ahead));
  if (time && *time < now && !day.starts_with("to")) time = at(noon_after(*ahead + 7));
  return time;
}

bool is_host_character(char c) {
  return is_letter(c) || is_digit(c) || c == '.' || c == '_' || c == '-';
}

class HostListParser {
 public:
  explicit HostListParser(std::string_view text) : text_(text) {}

  std::vector<std::string> parse() {
    std::string_view rest = trim(text_);
    while (!rest.empty()) {
      const std::size_t end = end_of_item(rest);
      expand(trim(rest.substr(0, end)), {});
      if (end == rest.size()) break;
      rest.remove_prefix(end + 1);
      if (rest.empty()) bad("ends with a comma");
    }
    return std::move(hosts_);
  }

 private:
  [[noreturn]] void bad(const std::string& why) const {
    fail("host list '{}': {}", text_.substr(0, 80), why);
  }

  // Up to the next comma outside brackets.
  std::size_t end_of_item(std::string_view text) const {
    bool inside = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '[' && std::exchange(inside, true)) bad("a bracket within a bracket");
      if (text[i] == ']' && !std::exchange(inside, false)) bad("']' without '['");
      if (text[i] == ',' && !inside) return i;
    }
    if (inside) bad("'[' without ']'");
    return text.size();
  }

  void expand(std::string_view item, const std::string& prefix) {
    const std::size_t open = item.find('[');
    const std::string head = prefix + std::string(item.substr(0, open));
    if (open == std::string_view::npos) return add(head);
    const std::size_t close = item.find(']', open);
    const std::string_view tail = item.substr(close + 1);
    for (const std::string& range : split(item.substr(open + 1, close - open - 1), ','))
      expand_range(range, head, tail);
  }

  void expand_range(std::string_view range, const std::string& head, std::string_view tail) {
    const std::size_t dash = range.find('-');
    const std::string_view low = range.substr(0, dash);
    const std::string_view high = dash == std::string_view::npos ? low : range.substr(dash + 1);
    const std::int64_t first = number(low), last = number(high);
    if (last < first) bad(fmt::format("'{}' runs backwards", range));
    if (last - first >= static_cast<std::int64_t>(kMaxHosts))
      bad(fmt::format("more than {} hosts", kMaxHosts));
    for (std::int64_t value = first; value <= last; ++value) {
      expand(tail, fmt::format("{}{:0{}}", head, value, low.size()));
    }
  }

  std::int64_t number(std::string_view text) const {
    if (text.empty() || text.size() > 18 || !std::all_of(text.begin(), text.end(), is_digit)) {
      bad(fmt::format("'{}' is no number", text));
    }
    std::int64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
  }

  void add(const std::string& host) {
    if (host.empty()) bad("an empty host name");
    if (!std::all_of(host.begin(), host.end(), is_host_character))
      bad(fmt::format("'{}' is no host name", host));
    if (hosts_.size() == kMaxHosts) bad(fmt::format("more than {} hosts", kMaxHosts));
    hosts_.push_back(host);
  }

  std::string_view text_;
  std::vector<std::string> hosts_;
};

// The number at a host name's end.
struct HostNumber {
  std::size_t width = 0;
  std::int64_t value = 0;
  bool operator<(const HostNumber& other) const {
    return std::tie(width, value) < std::tie(other.width, other.value);
  }
  bool padded() const { return width > 1 && fmt::formatted_size("{}", value) < width; }
  // Whether "[this-next]" means these two and nothing else.
  bool joins(const HostNumber& next) const {
    return next.value == value + 1 && (next.width == width || (!padded() && !next.padded()));
  }
  std::string text() const { return fmt::format("{:0{}}", value, width); }
};

struct HostGroup {
  std::string prefix;
  std::set<HostNumber> numbers;  // empty: the prefix is the whole name
};

std::string format_ranges(const HostGroup& group) {
  std::string ranges;
  for (auto first = group.numbers.begin(); first != group.numbers.end();) {
    auto last = first, next = std::next(first);
    while (next != group.numbers.end() && last->joins(*next)) last = next++;
    ranges += (ranges.empty() ? "" : ",") + first->text();
    if (last != first) ranges += "-" + last->text();
    first = next;
  }
  return group.numbers.size() == 1 ? group.prefix + ranges : group.prefix + "[" + ranges + "]";
}

}  // namespace

seconds parse_duration(std::string_view text) {
  const std::string_view trimmed = trim(text);
  auto total = units_duration(trimmed);
  if (!total || trimmed.empty()) total = slurm_duration(trimmed);
  if (!total)
    fail("'{}' is no duration; write 90s, 15m, 1h30m, 2d, minutes, hh:mm:ss or d-hh:mm:ss",
         text.substr(0, 60));
  if (*total <= 0 || *total > kLongestDuration)
    fail("duration '{}' is out of range; it lies between 1s and 3650d", text.substr(0, 60));
  return seconds(*total);
}

sys_seconds parse_time(std::string_view text, sys_seconds now) {
  const std::string_view trimmed = trim(text);
  if (trimmed == "now") return now;
  if (trimmed.starts_with("now")) {
    const std::string_view more = trim(trimmed.substr(3));
    if (more.starts_with('+')) return now + parse_duration(more.substr(1));
  }
  auto time = calendar_time(trimmed, now);
  if (!time) time = next_clock_time(trimmed, now);
  if (!time) {
    fail("'{}' is no time; write now, now+2h, 18:00, friday 18:00 or 2026-11-23T18:00", text.substr(0, 60));
  }
  return *time;
}

std::string format_duration(seconds duration) {
  const std::int64_t total = duration.count();
  if (total < 0) return "-" + format_duration(-duration);
  const std::int64_t days = total / kDay;
  const std::string clock =
      fmt::format("{:02}:{:02}:{:02}", total % kDay / kHour, total % kHour / kMinute, total % kMinute);
  return days > 0 ? fmt::format("{}-{}", days, clock) : clock;
}

std::string format_time(sys_seconds time) {
  const std::tm fields = local(time);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", fields.tm_year + 1900, fields.tm_mon + 1,
                     fields.tm_mday, fields.tm_hour, fields.tm_min, fields.tm_sec);
}

std::int64_t parse_integer(std::string_view text, std::int64_t min, std::int64_t max) {
  const std::string_view trimmed = trim(text);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(trimmed.data(), trimmed.data() + trimmed.size(), value);
  if (end != trimmed.data() + trimmed.size() || error == std::errc::invalid_argument) {
    fail("'{}' is no whole number", text.substr(0, 60));
  }
  if (error != std::errc() || value < min || value > max) {
    fail("{} is out of range; it lies between {} and {}", trimmed.substr(0, 60), min, max);
  }
  return value;
}

double parse_real(std::string_view text, double min, double max) {
  const std::string_view trimmed = trim(text);
  double value = 0;
  const auto [end, error] = std::from_chars(trimmed.data(), trimmed.data() + trimmed.size(), value);
  if (end != trimmed.data() + trimmed.size() || error == std::errc::invalid_argument) {
    fail("'{}' is no number", text.substr(0, 60));
  }
  if (error != std::errc() || !(value >= min && value <= max)) {
    fail("{} is out of range; it lies between {} and {}", trimmed.substr(0, 60), min, max);
  }
  return value;
}

bool parse_bool(std::string_view text) {
  const std::string_view word = trim(text);
  for (const char* yes : {"yes", "true", "on", "1"}) {
    if (word == yes) return true;
  }
  for (const char* no : {"no", "false", "off", "0"}) {
    if (word == no) return false;
  }
  fail("'{}' is neither yes nor no", text.substr(0, 60));
}

bool valid_name(std::string_view text) {
  return !text.empty() && text.size() <= kMaxNameLength && is_letter(text.front()) &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return is_letter(c) || is_digit(c) || c == '_' || c == '-'; });
}

HostPort parse_host_port(std::string_view text) {
  const std::size_t colon = std::min(text.rfind(':'), text.size());
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const bool plain = std::all_of(host.begin(), host.end(),
                                 [&](char c) { return is_host_character(c) || (bracketed && c == ':'); });
  if (colon == text.size() || host.empty() || !plain) fail("'{}' is no host:port", text.substr(0, 80));
  return {std::string(host), static_cast<int>(parse_integer(text.substr(colon + 1), 1, 65535))};
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    const std::size_t at = text.find(separator);
    parts.emplace_back(trim(text.substr(0, at)));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::vector<std::string> parse_host_list(std::string_view text) {
  return HostListParser(text).parse();
}

std::string format_host_list(const std::vector<std::string>& hosts) {
  std::vector<HostGroup> groups;  // in order of first appearance
  std::map<std::pair<std::string, bool>, std::size_t> index;
  for (const std::string& host : hosts) {
    std::size_t digits = 0;
    while (digits < std::min<std::size_t>(host.size(), 18) && is_digit(host[host.size() - digits - 1]))
      ++digits;
    const std::string prefix = host.substr(0, host.size() - digits);
    const auto [at, added] = index.try_emplace({prefix, digits > 0}, groups.size());
    if (added) groups.push_back({prefix, {}});
    if (digits == 0) continue;
    HostNumber number{digits, 0};
    std::from_chars(host.data() + prefix.size(), host.data() + host.size(), number.value);
    groups[at->second].numbers.insert(number);
  }
  std::string text;
  for (const HostGroup& group : groups) {
    text += (text.empty() ? "" : ",") + (group.numbers.empty() ? group.prefix : format_ranges(group));
  }
  return text;
}

}  // namespace stint
