// SPDX-License-Identifier: Apache-2.0
#include "reservations/plan_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <vector>

#include "base/one_line.h"
#include "base/text.h"
#include "reservations/counted.h"
#include "reservations/local_time.h"
#include "reservations/tags.h"

namespace stint::reservations {
namespace {

using nlohmann::json;
using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr std::chrono::minutes kSlot{30};
constexpr std::size_t kLongestNodes = 40;
constexpr char kUntilApproved[] =
    " ('stint plan approve'); until then nobody may use it, and without it the plan fails when it begins";
constexpr std::ptrdiff_t kGpuColumn = 5;
constexpr std::size_t kMostIds = 5;  // of offers, on one line

sys_seconds time_of(const json& value) {
  return sys_seconds{seconds{value.get<std::int64_t>()}};
}

std::string time_text(const json& value) {
  return format_time(time_of(value));
}

std::string price_text(const json& price) {
  return price.at("amount").get<std::string>() + " " + price.at("currency").get<std::string>();
}

std::string joined(const json& list) {
  return fmt::format("{}", fmt::join(list.get<std::vector<std::string>>(), ","));
}

std::string tags_text(const json& plan) {
  return to_string(plan.value("tags", Tags{}));
}

std::string line(const std::string& label, const std::string& text) {
  return fmt::format("{:<11} {}\n", label, text);
}

std::string usage_text(const json& usage) {
  return fmt::format("{:.2f} used, {:.2f} idle, {:.2f} lost", usage.at("used_hours").get<double>(),
                     usage.at("idle_hours").get<double>(), usage.at("lost_hours").get<double>());
}

std::string job_text(const json& job) {
  std::string name = job.at("name");
  if (!fits_one_line(name)) name = "(a name of several lines)";
  const auto nodes = format_host_list(job.at("nodes").get<std::vector<std::string>>());
  return fmt::format("{} {} of {}, {}{}", job.at("id").get<std::uint32_t>(), name,
                     job.at("user").get<std::string>(), job.at("state").get<std::string>(),
                     nodes.empty() ? " for " + job.at("reservation").get<std::string>() : " on " + nodes);
}

using Rows = std::vector<std::vector<std::string>>;

std::string table(const Rows& rows) {
  std::vector<std::size_t> widths(rows.front().size(), 0);
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      text += i + 1 == row.size() ? row[i] : fmt::format("{:<{}}  ", row[i], widths[i]);
    }
    text += "\n";
  }
  return text;
}

std::string host_list(const json& nodes) {
  return format_host_list(nodes.get<std::vector<std::string>>());
}

std::string length_text(const json& segment) {
  return format_duration(time_of(segment.at("end")) - time_of(segment.at("start")));
}

std::string day_name(sys_seconds time) {
  const std::time_t raw = time.time_since_epoch().count();
  std::tm fields{};
  ::localtime_r(&raw, &fields);
  std::array<char, 16> text{};
  std::strftime(text.data(), text.size(), "%a %m-%d", &fields);
  return text.data();
}

class FreeSteps {
 public:
  explicit FreeSteps(const json& availability) : until_(time_of(availability.at("until"))) {
    for (const auto& step : availability.at("steps"))
      steps_.emplace_back(time_of(step.at("from")), step.at("free").get<std::size_t>());
  }

  bool empty() const { return steps_.empty(); }
  sys_seconds from() const { return steps_.front().first; }
  sys_seconds until() const { return until_; }

  // The fewest in [start, end); none where nothing of it is known.
  std::optional<std::size_t> fewest(sys_seconds start, sys_seconds end) const {
    std::optional<std::size_t> least;
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      const auto ends = i + 1 < steps_.size() ? steps_[i + 1].first : until_;
      if (ends <= start || steps_[i].first >= end) continue;
      least = std::min(least.value_or(steps_[i].second), steps_[i].second);
    }
    return least;
  }

 private:
  std::vector<std::pair<sys_seconds, std::size_t>> steps_;
  sys_seconds until_;
};

// By the clock: where it is put forward columns stay empty, where it is put back the fewest of both hours
// count.
using Columns = std::array<std::optional<std::size_t>, 48>;

Columns columns_of_day(const FreeSteps& steps, sys_seconds day, sys_seconds now) {
  Columns columns;
  const auto next = next_day(day);
  for (auto slot = day; slot < next; slot += kSlot) {
    const auto free = steps.fewest(std::max(slot, now), slot + kSlot);
    auto& column = columns[static_cast<std::size_t>(local_time(slot).of_day / kSlot)];
    if (free) column = std::min(column.value_or(*free), *free);
  }
  return columns;
}

// "2 to 8"
std::string range_text(const Columns& columns) {
  std::vector<std::size_t> known;
  for (const auto& column : columns) {
    if (column) known.push_back(*column);
  }
  if (known.empty()) return {};
  const auto [least, most] = std::minmax_element(known.begin(), known.end());
  return *least == *most ? std::to_string(*most) : fmt::format("{} to {}", *least, *most);
}

std::string bar(std::optional<std::size_t> free, std::size_t nodes) {
  constexpr std::array<const char*, 9> kLevels = {"_", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  if (!free) return " ";
  if (*free == 0 || nodes == 0) return kLevels[0];
  return kLevels[*free >= nodes ? 8 : std::max<std::size_t>(1, *free * 8 / nodes)];
}

std::string gpus_text(const json& offer) {
  const int each = offer.at("gpus_per_node");
  return each == 0 ? "none" : fmt::format("{} ({} a node)", offer.at("gpus").get<int>(), each);
}

std::string some_ids(std::vector<std::string> ids) {
  const std::size_t all = ids.size();
  if (all > kMostIds) ids.resize(kMostIds);
  return fmt::format("{}{}", fmt::join(ids, ", "),
                     all > kMostIds ? fmt::format(" and {} more", all - kMostIds) : "");
}

// How the prices come about, once for all offers of which it is the same: "o3f2k, oabcd: 12 h at 2.50 …".
std::string breakdowns_text(const json& offers) {
  std::vector<std::pair<std::string, std::vector<std::string>>> lines;  // breakdown and ids
  for (const auto& offer : offers) {
    const auto breakdown = offer.at("price").value("breakdown", "");
    const auto id = offer.at("id").get<std::string>();
    if (breakdown.empty()) continue;
    const auto same =
        std::find_if(lines.begin(), lines.end(), [&](const auto& line) { return line.first == breakdown; });
    if (same == lines.end()) {
      lines.push_back({breakdown, {id}});
    } else {
      same->second.push_back(id);
    }
  }
  std::string text;
  for (const auto& [breakdown, ids] : lines) text += fmt::format("{}: {}\n", some_ids(ids), breakdown);
  return text;
}

std::string approvals_text(const json& answer) {
  std::vector<std::string> ids;
  for (const auto& offer : answer.at("offers")) {
    if (offer.value("needs_approval", false)) ids.push_back(offer.at("id"));
  }
  if (ids.empty()) return {};
  return fmt::format("approval: {} {} it from {}{}\n", some_ids(ids), ids.size() == 1 ? "needs" : "need",
                     answer.at("approvers").get<std::string>(), kUntilApproved);
}

}  // namespace

std::string capacity_text(const json& plan) {
  const auto& segment = plan.at("segments").at(plan.value("segment", std::size_t{0}));
  const auto lost = static_cast<int>(segment.at("lost").size());
  const int there = static_cast<int>(segment.at("nodes").size()) - lost;
  const int nodes = std::min(plan.at("nodes").get<int>(), there);
  const std::string text = fmt::format("{}+{}", nodes, there - nodes);
  return lost == 0 ? text : fmt::format("{} ({} lost)", text, lost);
}

// Of the segment that is open, as far as the plan's jobs are known.
std::string in_use_text(const json& plan) {
  if (!plan.contains("jobs") || plan.at("state") != "active") return {};
  const auto& segment = plan.at("segments").at(plan.value("segment", std::size_t{0}));
  const auto own = segment.at("nodes").get<std::set<std::string>>();
  const auto lost = segment.at("lost").get<std::set<std::string>>();
  std::set<std::string> used;
  for (const auto& job : plan.at("jobs")) {
    for (const auto& node : job.at("nodes")) {
      if (own.contains(node) && !lost.contains(node)) used.insert(node);
    }
  }
  return fmt::format(", {} in use, {} free", used.size(), own.size() - lost.size() - used.size());
}

std::string plan_text(const json& plan) {
  const auto& price = plan.at("price");
  const auto& segments = plan.at("segments");
  std::string text = line("plan", plan.at("name"));
  const std::string reason =
      plan.contains("reason") ? ": " + plan["reason"].get<std::string>() : std::string{};
  text += line("state", plan.at("state").get<std::string>() + reason);
  text += line("owner", plan.at("owner"));
  text += line("users", joined(plan.at("users")));
  if (!plan.at("accounts").empty()) {
    const auto members = plan.at("members").size();
    text += line("members", fmt::format("of {}: {} besides", joined(plan.at("accounts")), members));
  }
  if (const auto tags = tags_text(plan); !tags.empty()) text += line("tags", tags);
  text += line("partition", plan.at("partition"));
  if (const auto features = plan.value("features", json::array()); !features.empty())
    text += line("features", joined(features));
  if (const int gpus = plan.value("gpus_per_node", 0); gpus > 0)
    text += line("gpus", fmt::format("{} a node", gpus));
  text += line("capacity", capacity_text(plan) + in_use_text(plan));
  text += line("switches", std::to_string(plan.at("switches").get<int>()));
  for (std::size_t k = 0; k < segments.size(); ++k) {
    const auto& segment = segments[k];
    if (segments.size() > 1)
      text +=
          line(fmt::format("segment {}", k), fmt::format("of {}, {}", segments.size(), length_text(segment)));
    text += line("nodes", host_list(segment.at("nodes")));
    if (!segment.at("lost").empty()) text += line("lost", joined(segment.at("lost")));
    text += line("from", time_text(segment.at("start")));
    const bool released = segment.value("released", false);
    text += line("until", time_text(segment.at("end")) + (released ? " (released: no job was in it)" : ""));
    text += line("reservation", segment.at("reservation"));
  }
  const std::string rate = price.at("rate").get<std::string>() + " a node and hour";
  text += line("price",
               fmt::format("{} ({}; spares are free)", price_text(price), price.value("breakdown", rate)));
  text += line("account", plan.at("account"));
  if (plan.value("needs_approval", false))
    text += line("approval", "needed from " + plan.at("approvers").get<std::string>() + kUntilApproved);
  if (const auto gives_back = plan.value("gives_back", ""); !gives_back.empty())
    text += line("refund", gives_back);
  else if (plan.at("refund") != "0.00")
    text +=
        line("refund", plan.at("refund").get<std::string>() + " " + price.at("currency").get<std::string>());
  if (plan.contains("opening"))
    text += line("opening",
                 fmt::format("{}{}",
                             segments.size() > 1
                                 ? fmt::format("of segment {} ", plan["opening"].at("segment").get<int>())
                                 : "",
                             plan["opening"].at("text").get<std::string>()));
  if (plan.contains("usage")) text += line("node-hours", usage_text(plan["usage"]));
  if (plan.contains("warning")) text += line("warning", plan["warning"]);
  for (const auto& job : plan.value("jobs", json::array())) text += line("job", job_text(job));
  return text;
}

std::string plans_text(const json& plans) {
  Rows rows{{"NAME", "STATE", "OWNER", "PARTITION", "NODES", "FROM", "UNTIL", "SEGMENTS", "PRICE"}};
  const bool tagged =
      std::any_of(plans.begin(), plans.end(), [](const json& plan) { return !tags_text(plan).empty(); });
  if (tagged) rows.front().push_back("TAGS");
  for (const auto& plan : plans) {
    const auto& segments = plan.at("segments");
    rows.push_back({plan.at("name"), plan.at("state"), plan.at("owner"), plan.at("partition"),
                    capacity_text(plan), time_text(segments.front().at("start")),
                    time_text(segments.back().at("end")), std::to_string(segments.size()),
                    price_text(plan.at("price"))});
    if (tagged) rows.back().push_back(tags_text(plan));
  }
  return table(rows);
}

std::string plans_ini(const json& plans) {
  std::string text;
  for (const auto& plan : plans) {
    text += fmt::format(
        "[plan {}]\nstate = {}\nowner = {}\nusers = {}\naccounts = {}\nmembers = {}\naccount = {}\npartition "
        "= {}\nfeatures = {}\ngpus_per_node = {}\nnodes = {}\nspares = "
        "{}\n"
        "tags = {}\n"
        "price = {}\n",
        plan.at("name").get<std::string>(), plan.at("state").get<std::string>(),
        plan.at("owner").get<std::string>(), joined(plan.at("users")), joined(plan.at("accounts")),
        joined(plan.at("members")), plan.at("account").get<std::string>(),
        plan.at("partition").get<std::string>(), joined(plan.at("features")),
        plan.at("gpus_per_node").get<int>(), plan.at("nodes").get<int>(), plan.at("spares").get<int>(),
        tags_text(plan), price_text(plan.at("price")));
    for (const auto& segment : plan.at("segments")) {
      text += fmt::format("[segment {}]\nstart = {}\nend = {}\nnodes = {}\n",
                          segment.at("reservation").get<std::string>(), time_text(segment.at("start")),
                          time_text(segment.at("end")), host_list(segment.at("nodes")));
    }
  }
  return text;
}

std::string extensions_text(const json& answer) {
  Rows rows{{"OFFER", "UNTIL", "NODES", "SEGMENTS", "ADDS", "PRICE", "WHY"}};
  for (const auto& offer : answer.at("offers")) {
    const auto& plan = offer.at("plan");
    const auto& segments = plan.at("segments");
    rows.push_back({offer.at("id"), time_text(segments.back().at("end")), capacity_text(plan),
                    std::to_string(segments.size()), offer.at("adds"), price_text(plan.at("price")),
                    offer.at("why")});
  }
  return table(rows);
}

std::string history_text(const json& entries) {
  Rows rows{{"WHEN", "WHO", "ACTION", "DETAIL"}};
  for (const auto& entry : entries) {
    const sys_seconds when{seconds{static_cast<std::int64_t>(entry.at("t").get<double>())}};
    rows.push_back({format_time(when), entry.at("who"), entry.at("action"), entry.at("detail")});
  }
  return table(rows);
}

std::string offers_text(const json& answer) {
  const auto& offers = answer.at("offers");
  if (offers.empty()) {
    return fmt::format("no offer: {}\nwhat would work: {}\n", answer.at("reason").get<std::string>(),
                       answer.at("remedy").get<std::string>());
  }
  const bool gpus = offers.front().contains("gpus");
  Rows rows{{"OFFER", "FROM", "UNTIL", "LENGTH", "NODES", "SWITCHES", "PRICE", "WHY"}};
  if (gpus) rows.front().insert(rows.front().begin() + kGpuColumn, "GPUS");
  for (const auto& offer : offers) {
    bool first = true;
    for (const auto& segment : offer.at("segments")) {
      std::string nodes = host_list(segment.at("nodes"));
      if (nodes.size() > kLongestNodes) nodes = nodes.substr(0, kLongestNodes - 3) + "...";
      rows.push_back({first ? offer.at("id").get<std::string>() : "", time_text(segment.at("start")),
                      time_text(segment.at("end")), length_text(segment), nodes,
                      std::to_string(segment.at("switches").get<int>()),
                      first ? price_text(offer.at("price")) : "",
                      first ? offer.at("why").get<std::string>() : ""});
      if (gpus) rows.back().insert(rows.back().begin() + kGpuColumn, first ? gpus_text(offer) : "");
      first = false;
    }
  }
  std::string text = table(rows) + breakdowns_text(offers);
  text += approvals_text(answer);
  if (answer.contains("warning")) text += fmt::format("warning: {}\n", answer["warning"].get<std::string>());
  text += fmt::format("book one until {}: stint plan create --name NAME --offer {}\n",
                      time_text(answer.at("valid_until")), offers.front().at("id").get<std::string>());
  return text;
}

std::string availability_text(const json& availability, sys_seconds now) {
  const auto nodes = availability.at("nodes").get<std::size_t>();
  const FreeSteps steps(availability);
  std::string text = fmt::format(
      "partition {}: {}; each column is half an hour, its height the nodes that are "
      "free through it (_ none, █ all)\n\n",
      availability.at("partition").get<std::string>(), counted(nodes, "node"));
  if (steps.empty()) return text;
  text += "           0     3     6     9     12    15    18    21      free, fewest to most\n";
  for (auto day = start_of_day(now); day < steps.until(); day = next_day(day)) {
    const auto columns = columns_of_day(steps, day, now);
    std::string bars;
    for (const auto free : columns) bars += bar(free, nodes);
    text += fmt::format("{}  {}  {}\n", day_name(day), bars, range_text(columns));
  }
  return text;
}

}  // namespace stint::reservations
