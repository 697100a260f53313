// SPDX-License-Identifier: Apache-2.0
#include "reservations/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/error.h"
#include "base/text.h"
#include "reservations/json_fields.h"
#include "reservations/local_time.h"

namespace stint::reservations {
namespace {

using nlohmann::json;
using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr seconds kLongest = std::chrono::days{3'660};
// Behind what the lines are grouped by.
constexpr std::array<const char*, 9> kColumns{"month",      "plans",      "booked_hours",
                                              "used_hours", "idle_hours", "lost_hours",
                                              "price",      "refund",     "currency"};

const char* group_column(const json& report) {
  return report.contains("tag") ? "value" : "account";
}

class Reporter {
 public:
  using GroupOf = std::function<std::string(const Plan&)>;

  Reporter(Window window, GroupOf group_of) : window_(window), group_of_(std::move(group_of)) {}

  void add(const Plan& plan, const std::vector<UsageRow>& usage) {
    const bool ended_early =
        plan.phase == Phase::kCancelled || plan.phase == Phase::kCancelling || plan.phase == Phase::kFailed;
    for (const auto& row : usage) {
      if (row.day < window_.start || row.day >= window_.end) continue;
      auto& line = line_of(plan, row.day);
      line.spent += row.spent;
      if (ended_early) line.booked += row.spent.sum();
    }
    if (!ended_early) {
      for (const auto& segment : plan.segments) add_booked(plan, segment);
    }
    if (plan.segments.empty()) return;
    const auto start = plan.segments.front().start;
    if (start < window_.start || start >= window_.end) return;
    auto& line = line_of(plan, start);
    ++line.plans;
    line.price_cents += plan.price.cents;
    line.refund_cents += plan.refund_cents;
  }

  std::vector<ReportLine> lines() const {
    std::vector<ReportLine> lines;
    for (const auto& [key, line] : lines_) lines.push_back(line);
    return lines;
  }

 private:
  ReportLine& line_of(const Plan& plan, sys_seconds time) {
    const auto month = month_text(time);
    const auto group = group_of_(plan);
    auto& line = lines_[{group, month, plan.price.currency}];
    line.group = group;
    line.month = month;
    line.currency = plan.price.currency;
    return line;
  }

  void add_booked(const Plan& plan, const Segment& segment) {
    const auto end = std::min(segment.end, window_.end);
    for (auto from = std::max(segment.start, window_.start); from < end;) {
      const auto to = std::min(end, next_month(from));
      line_of(plan, from).booked += plan.nodes * (to - from).count();
      from = to;
    }
  }

  Window window_;
  GroupOf group_of_;
  std::map<std::tuple<std::string, std::string, std::string>, ReportLine> lines_;
};

// "2026-11-01", a day of stintd's own calendar: the caller's clock may be another zone's.
std::optional<sys_seconds> day_of(JsonFields& fields, const std::string& field) {
  const auto text = fields.text(field);
  if (!text) return std::nullopt;
  try {
    const auto parts = split(*text, '-');
    if (parts.size() != 3) fail("no day");
    const auto number = [&](std::size_t i, std::int64_t least, std::int64_t most) {
      return static_cast<int>(parse_integer(parts[i], least, most));
    };
    return local_midnight(number(0, 1970, 9999), number(1, 1, 12), number(2, 1, 31));
  } catch (const Error&) {
    fail("report: {}: '{}' is no day; write 2026-11-01", field, text->substr(0, 40));
  }
}

double hours(std::int64_t node_seconds) {
  return static_cast<double>(node_seconds) / 3600;
}

std::string cell(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) return fmt::format("{:.2f}", value.get<double>());
  return value.dump();
}

}  // namespace

ReportRequest ReportRequest::parse(const json& body, sys_seconds now) {
  JsonFields fields("report", body);
  ReportRequest request;
  request.account = fields.text("account").value_or("");
  request.by_tag = fields.text("by_tag").value_or("");
  const auto from = day_of(fields, "from");
  const auto to = day_of(fields, "to");
  fields.refuse_others();
  if (!request.by_tag.empty()) check_tag_key("report", request.by_tag);
  request.window.start = from.value_or(start_of_month(now));
  request.window.end = to.value_or(next_month(from.value_or(now)));
  if (request.window.end <= request.window.start) fail("report: its end must lie after its begin");
  if (request.window.end - request.window.start > kLongest) fail("report: spans more than ten years");
  return request;
}

sys_seconds parse_report_time(const std::string& text, sys_seconds now, std::optional<sys_seconds> after) {
  constexpr std::array kWeekdays = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
  std::string word(trim(text).substr(0, 3));
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::tolower(c); });
  if (std::find(kWeekdays.begin(), kWeekdays.end(), word) == kWeekdays.end()) return parse_time(text, now);
  return parse_time(text, after.value_or(now - std::chrono::weeks{1}) + seconds{1});
}

Report make_report(const Ledger& ledger, Window window,
                   const std::function<bool(const std::string& account)>& visible,
                   const std::function<std::string(const Plan&)>& group_of) {
  Reporter reporter(
      window, group_of ? group_of : [](const Plan& plan) { return plan.account; });
  for (const auto& plan : ledger.plans_between(window)) {
    if (plan.phase != Phase::kBooking && plan.phase != Phase::kPending && visible(plan.account))
      reporter.add(plan, ledger.usage(plan.id));
  }
  return {window, reporter.lines()};
}

json to_json(const NodeSeconds& spent) {
  return {{"used_hours", hours(spent.used)},
          {"idle_hours", hours(spent.idle)},
          {"lost_hours", hours(spent.lost)}};
}

json to_json(const Report& report, const std::string& by_tag) {
  json lines = json::array();
  for (const auto& line : report.lines) {
    json row = to_json(line.spent);
    row.update({{by_tag.empty() ? "account" : "value", line.group},
                {"month", line.month},
                {"plans", line.plans},
                {"booked_hours", hours(line.booked)},
                {"price", amount_text(line.price_cents)},
                {"refund", amount_text(line.refund_cents)},
                {"currency", line.currency}});
    lines.push_back(std::move(row));
  }
  json answer{{"from", report.window.start.time_since_epoch().count()},
              {"to", report.window.end.time_since_epoch().count()},
              {"lines", lines}};
  if (!by_tag.empty()) answer["tag"] = by_tag;
  return answer;
}

std::string report_text(const json& report) {
  const auto time = [&](const char* field) {
    return format_time(sys_seconds{seconds{report.at(field).get<std::int64_t>()}});
  };
  std::string text = fmt::format("node-hours and money from {} to {}\n", time("from"), time("to"));
  if (report.at("lines").empty()) return text + "no plans\n";
  text += fmt::format("{:<20} {:<8} {:>5} {:>10} {:>10} {:>10} {:>10} {:>12} {:>12}\n",
                      report.value("tag", "ACCOUNT"), "MONTH", "PLANS", "BOOKED", "USED", "IDLE", "LOST",
                      "PRICE", "REFUND");
  for (const auto& line : report.at("lines")) {
    const auto group = cell(line.at(group_column(report)));
    text += fmt::format("{:<20} {:<8} {:>5} {:>10} {:>10} {:>10} {:>10} {:>12} {:>12} {}\n",
                        group.empty() ? "-" : group, cell(line.at("month")), cell(line.at("plans")),
                        cell(line.at("booked_hours")), cell(line.at("used_hours")),
                        cell(line.at("idle_hours")), cell(line.at("lost_hours")), cell(line.at("price")),
                        cell(line.at("refund")), cell(line.at("currency")));
  }
  return text;
}

std::string report_csv(const json& report) {
  const char* group = group_column(report);
  std::string text = fmt::format("{},{}\n", report.value("tag", group), fmt::join(kColumns, ","));
  for (const auto& line : report.at("lines")) {
    std::vector<std::string> cells{cell(line.at(group))};
    for (const char* column : kColumns) cells.push_back(cell(line.at(column)));
    text += fmt::format("{}\n", fmt::join(cells, ","));
  }
  return text;
}

}  // namespace stint::reservations
