// SPDX-License-Identifier: Apache-2.0
#include "reservations/plan_report.h"

#include <fmt/format.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "reservations/local_time.h"
#include "reservations/report.h"
#include "reservations/service_call.h"

namespace stint::reservations {
namespace {

using nlohmann::json;
using std::chrono::seconds;
using std::chrono::sys_seconds;

struct Options {
  std::string config;
  std::string format = "table";
  std::string month;
  std::string from;
  std::string to;
  std::string account;
  std::string by_tag;
};

std::string date_of(sys_seconds time) {
  return format_time(time).substr(0, 10);
}

// "2026-11": its first second.
sys_seconds month_start(const std::string& text) {
  try {
    if (text.size() != 7 || text[4] != '-') fail("no month");
    const auto year = parse_integer(text.substr(0, 4), 1970, 9999);
    return local_midnight(static_cast<int>(year), static_cast<int>(parse_integer(text.substr(5), 1, 12)), 1);
  } catch (const Error&) {
    fail("report: --month: '{}' is no month; write 2026-11", text);
  }
}

// A time within a day is the whole day: `to` is the day behind it.
std::string day(const char* option, const std::string& text, std::optional<sys_seconds> after) {
  const auto now = std::chrono::floor<seconds>(std::chrono::system_clock::now());
  try {
    const auto time = parse_report_time(text, now, after);
    const bool within = option == std::string_view("to") && time != start_of_day(time);
    return date_of(within ? next_day(time) : time);
  } catch (const Error& error) {
    fail("report: --{}: {}", option, error.what());
  }
}

json request_of(const Options& options) {
  json body = json::object();
  if (!options.account.empty()) body["account"] = options.account;
  if (!options.by_tag.empty()) body["by_tag"] = options.by_tag;
  if (!options.month.empty()) {
    const auto start = month_start(options.month);
    body["from"] = date_of(start);
    body["to"] = date_of(next_month(start));
  }
  std::optional<sys_seconds> from;
  if (!options.from.empty()) {
    body["from"] = day("from", options.from, std::nullopt);
    from = parse_time(body["from"].get<std::string>(), sys_seconds{});
  }
  if (!options.to.empty()) body["to"] = day("to", options.to, from);
  return body;
}

void report(const Options& options) {
  const json answer = call_service(options.config, "POST", "/v1/report", request_of(options));
  if (options.format == "json") {
    std::cout << answer.dump(2) << "\n";
  } else {
    std::cout << (options.format == "csv" ? report_csv(answer) : report_text(answer));
  }
}

}  // namespace

void add_report_command(CLI::App& plan_group) {
  const auto options = std::make_shared<Options>();
  auto* command = plan_group.add_subcommand(
      "report", "What accounts booked, used, left idle, lost and paid, by month (default: this month)");
  command->add_option("--config", options->config, "stint.conf to read");
  command->add_option("--format", options->format, "table, csv or json")
      ->check(CLI::IsMember({"table", "csv", "json"}))
      ->capture_default_str();
  auto* month = command->add_option("--month", options->month, "2026-11");
  command->add_option("--from", options->from, "first day: 2026-11-01, monday, …")->excludes(month);
  command->add_option("--to", options->to, "the day after the last one (default: the month's end)")
      ->excludes(month);
  command->add_option("--account", options->account,
                      "of this account alone (default: yours; an operator's: all)");
  command->add_option("--by-tag", options->by_tag, "a line for each value of this tag, not for each account");
  command->callback([options] { report(*options); });
}

}  // namespace stint::reservations
