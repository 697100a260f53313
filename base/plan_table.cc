// SPDX-License-Identifier: Apache-2.0
#include "base/plan_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/contract.h"
#include "base/error.h"
#include "base/ini.h"
#include "base/text.h"

namespace stint {
namespace {

using std::chrono::sys_seconds;

constexpr std::string_view kPlanPrefix = "plan ", kSegmentPrefix = "segment ", kQosPrefix = "qos ",
                           kAssociationPrefix = "association ";
constexpr std::int64_t kLastSecond = 253402300799;  // the year 9999
constexpr std::int64_t kMaxNodes = 65536, kMaxGpus = 65536, kMaxMinutes = 1LL << 32;

const std::vector<std::string>& states() {
  static const std::vector<std::string> kStates = {"pending", "scheduled", "active",
                                                   "expired", "failed",    "cancelled"};
  return kStates;
}

std::vector<std::string> list_of(const std::string& text) {
  return text.empty() ? std::vector<std::string>{} : split(text, ',');
}

sys_seconds time_of(const std::string& text) {
  return sys_seconds(std::chrono::seconds(parse_integer(text, 0, kLastSecond)));
}

std::uint32_t uid_of(const std::string& text) {
  return static_cast<std::uint32_t>(parse_integer(text, 0, std::numeric_limits<std::uint32_t>::max()));
}

std::chrono::minutes minutes_of(const std::string& text) {
  return std::chrono::minutes(parse_integer(text, 1, kMaxMinutes));
}

std::string state_of(const std::string& text) {
  if (std::find(states().begin(), states().end(), text) == states().end())
    fail("'{}' is no plan state", text);
  return text;
}

void set_table_key(PlanTable& table, const IniEntry& entry) {
  if (entry.key != "written") fail("unknown key '{}' in [{}]", entry.key, entry.section);
  table.written = time_of(entry.value);
}

void set_plan_key(PlanRow& plan, const IniEntry& entry) {
  const auto& [section, key, value, line] = entry;
  if (key == "state") {
    plan.state = state_of(value);
  } else if (key == "users") {
    plan.users = list_of(value);
  } else if (key == "uids") {
    for (const std::string& uid : list_of(value)) plan.uids.push_back(uid_of(uid));
  } else if (key == "partition") {
    plan.partition = value;
  } else if (key == "nodes") {
    plan.nodes = static_cast<int>(parse_integer(value, 1, kMaxNodes));
  } else if (key == "spares") {
    plan.spares = static_cast<int>(parse_integer(value, 0, kMaxNodes));
  } else if (key == "gpus") {
    plan.gpus = static_cast<int>(parse_integer(value, 0, kMaxGpus));
  } else if (key == "max_time") {
    plan.max_time = minutes_of(value);
  } else if (key == "partition_qos") {
    plan.partition_qos = value;
  } else {
    fail("unknown key '{}' in [{}]", key, section);
  }
}

void set_segment_key(SegmentRow& segment, const IniEntry& entry) {
  const auto& [section, key, value, line] = entry;
  if (key == "start") {
    segment.start = time_of(value);
  } else if (key == "end") {
    segment.end = time_of(value);
  } else if (key == "nodes") {
    segment.nodes = value;
  } else if (key == "released") {
    segment.released = parse_integer(value, 0, 1) == 1;
  } else {
    fail("unknown key '{}' in [{}]", key, section);
  }
}

void set_qos_key(WallLimits::Qos& qos, const IniEntry& entry) {
  const auto& [section, key, value, line] = entry;
  if (key == "name") {
    qos.name = value;
  } else if (key == "max_wall") {
    qos.max_wall = minutes_of(value);
  } else if (key == "over_partition_qos") {
    qos.over_partition_qos = parse_bool(value);
  } else if (key == "over_max_time") {
    qos.over_max_time = parse_bool(value);
  } else {
    fail("unknown key '{}' in [{}]", key, section);
  }
}

void set_association_key(WallLimits::Association& association, const IniEntry& entry) {
  const auto& [section, key, value, line] = entry;
  if (key == "uid") {
    association.uid = uid_of(value);
  } else if (key == "account") {
    association.account = value;
  } else if (key == "partition") {
    association.partition = value;
  } else if (key == "default") {
    association.is_default = parse_bool(value);
  } else if (key == "qos") {
    association.qos = value;
  } else if (key == "max_wall") {
    association.max_wall = minutes_of(value);
  } else {
    fail("unknown key '{}' in [{}]", key, section);
  }
}

// "qos 7" is the row 7 of its kind, and they come in order.
template <typename Row>
void open_numbered(std::vector<Row>& rows, const std::string& section, std::string_view prefix) {
  if (section.substr(prefix.size()) != std::to_string(rows.size()))
    fail("[{}]: stands where [{}{}] should", section, prefix, rows.size());
  rows.emplace_back();
}

template <typename Row>
Row& numbered(std::vector<Row>& rows, const std::string& section, std::string_view prefix) {
  return rows.at(static_cast<std::size_t>(
      parse_integer(section.substr(prefix.size()), 0, static_cast<std::int64_t>(rows.size()) - 1)));
}

// The plan of reservation "<plan>.<k>", which must stand before its segments.
PlanRow& plan_of_reservation(PlanTable& table, const std::string& reservation) {
  const std::string name = reservation.substr(0, reservation.rfind('.'));
  for (PlanRow& plan : table.plans) {
    if (plan.name == name && reservation.size() > name.size() + 1) return plan;
  }
  fail("[segment {}]: no [plan {}] before it", reservation, name);
}

void open_section(PlanTable& table, const std::string& section) {
  if (section == "table") return;
  if (section.starts_with(kPlanPrefix)) {
    PlanRow plan;
    plan.name = section.substr(kPlanPrefix.size());
    if (!valid_name(plan.name)) fail("'{}' is no plan name", plan.name);
    table.plans.push_back(std::move(plan));
  } else if (section.starts_with(kSegmentPrefix)) {
    const std::string reservation = section.substr(kSegmentPrefix.size());
    SegmentRow segment;
    segment.reservation = reservation;
    plan_of_reservation(table, reservation).segments.push_back(std::move(segment));
  } else if (section.starts_with(kQosPrefix)) {
    open_numbered(table.limits.qos, section, kQosPrefix);
  } else if (section.starts_with(kAssociationPrefix)) {
    open_numbered(table.limits.associations, section, kAssociationPrefix);
  } else {
    fail("unknown section [{}]", section);
  }
}

void set_key(PlanTable& table, const IniEntry& entry) {
  if (entry.section == "table") return set_table_key(table, entry);
  if (entry.section.starts_with(kPlanPrefix)) {
    const std::string name = entry.section.substr(kPlanPrefix.size());
    const auto plan = std::find_if(table.plans.begin(), table.plans.end(),
                                   [&](const PlanRow& p) { return p.name == name; });
    return set_plan_key(*plan, entry);
  }
  auto& limits = table.limits;
  if (entry.section.starts_with(kQosPrefix))
    return set_qos_key(numbered(limits.qos, entry.section, kQosPrefix), entry);
  if (entry.section.starts_with(kAssociationPrefix))
    return set_association_key(numbered(limits.associations, entry.section, kAssociationPrefix), entry);
  const std::string reservation = entry.section.substr(kSegmentPrefix.size());
  for (SegmentRow& segment : plan_of_reservation(table, reservation).segments) {
    if (segment.reservation == reservation) return set_segment_key(segment, entry);
  }
}

// The keys that must be there: a row with a hole would let jobs in or out wrongly.
void check_complete(const IniFile& file) {
  const auto need = [&](const std::string& section, std::initializer_list<const char*> keys) {
    for (const char* key : keys) {
      if (!file.find(section, key)) fail("{}: [{}] lacks '{}'", file.name(), section, key);
    }
  };
  need("table", {"written"});
  for (const std::string& section : file.sections()) {
    if (section.starts_with(kPlanPrefix))
      need(section, {"state", "users", "uids", "partition", "nodes", "spares"});
    if (section.starts_with(kSegmentPrefix)) need(section, {"start", "end", "nodes"});
    if (section.starts_with(kQosPrefix)) need(section, {"name"});
    if (section.starts_with(kAssociationPrefix)) need(section, {"uid", "account"});
  }
}

void check_segments(const PlanTable& table, const std::string& name) {
  for (const PlanRow& plan : table.plans) {
    for (const SegmentRow& segment : plan.segments) {
      if (segment.end <= segment.start)
        fail("{}: [segment {}] ends before it starts", name, segment.reservation);
    }
  }
}

void check_value(const std::string& value, const std::string& what) {
  if (const std::string reason = ini_value_problem(value); !reason.empty()) fail("{}: {}", what, reason);
}

std::string join(const std::vector<std::string>& words) {
  return fmt::format("{}", fmt::join(words, ","));
}

std::string format_plan(const PlanRow& plan) {
  const std::string what = "plan " + plan.name;
  if (!valid_name(plan.name)) fail("'{}' is no plan name", plan.name);
  check_value(join(plan.users) + plan.partition + plan.partition_qos, what);
  std::string text =
      fmt::format("[plan {}]\nstate = {}\nusers = {}\nuids = {}\npartition = {}\nnodes = {}\nspares = {}\n",
                  plan.name, state_of(plan.state), join(plan.users), fmt::join(plan.uids, ","),
                  plan.partition, plan.nodes, plan.spares);
  if (plan.gpus) text += fmt::format("gpus = {}\n", *plan.gpus);
  if (plan.max_time) text += fmt::format("max_time = {}\n", plan.max_time->count());
  if (!plan.partition_qos.empty()) text += fmt::format("partition_qos = {}\n", plan.partition_qos);
  for (const SegmentRow& segment : plan.segments) {
    check_value(segment.nodes, what);
    text += fmt::format("[segment {}]\nstart = {}\nend = {}\nnodes = {}\n", segment.reservation,
                        segment.start.time_since_epoch().count(), segment.end.time_since_epoch().count(),
                        segment.nodes);
    if (segment.released) text += "released = 1\n";
  }
  return text;
}

std::string format_limits(const WallLimits& limits) {
  std::string text;
  const auto wall = [&](const std::optional<std::chrono::minutes>& most) {
    if (most) text += fmt::format("max_wall = {}\n", most->count());
  };
  for (std::size_t i = 0; i < limits.qos.size(); ++i) {
    const auto& qos = limits.qos[i];
    check_value(qos.name, "QOS");
    text += fmt::format("[{}{}]\nname = {}\n", kQosPrefix, i, qos.name);
    wall(qos.max_wall);
    if (qos.over_partition_qos) text += "over_partition_qos = yes\n";
    if (qos.over_max_time) text += "over_max_time = yes\n";
  }
  for (std::size_t i = 0; i < limits.associations.size(); ++i) {
    const auto& one = limits.associations[i];
    check_value(one.account + one.partition + one.qos, "association");
    text += fmt::format("[{}{}]\nuid = {}\naccount = {}\n", kAssociationPrefix, i, one.uid, one.account);
    if (!one.partition.empty()) text += fmt::format("partition = {}\n", one.partition);
    if (one.is_default) text += "default = yes\n";
    if (!one.qos.empty()) text += fmt::format("qos = {}\n", one.qos);
    wall(one.max_wall);
  }
  return text;
}

}  // namespace

bool PlanRow::may_submit(std::uint32_t uid) const {
  return std::find(uids.begin(), uids.end(), uid) != uids.end();
}

const SegmentRow* PlanRow::segment_at(sys_seconds now) const {
  const SegmentRow* best = nullptr;
  for (const SegmentRow& segment : segments) {
    if (segment.end > now && (!best || segment.start < best->start)) best = &segment;
  }
  return best;
}

PlanTable PlanTable::parse(std::string_view text, std::string name) {
  const IniFile file = IniFile::parse(text, std::move(name), kMaxBytes);
  PlanTable table;
  for (const std::string& section : file.sections()) {
    try {
      open_section(table, section);
    } catch (const Error& error) {
      fail("{}: {}", file.name(), error.what());
    }
  }
  for (const IniEntry& entry : file.entries()) {
    try {
      set_key(table, entry);
    } catch (const Error& error) {
      fail("{}'{}': {}", file.where(entry), entry.key, error.what());
    }
  }
  check_complete(file);
  check_segments(table, file.name());
  return table;
}

std::string PlanTable::format() const {
  using namespace std::chrono;
  const sys_seconds stamp = written == sys_seconds{} ? floor<seconds>(system_clock::now()) : written;
  std::string text = fmt::format("[table]\nwritten = {}\n", stamp.time_since_epoch().count());
  for (const PlanRow& plan : plans) text += format_plan(plan);
  return text + format_limits(limits);
}

const PlanRow* PlanTable::find(std::string_view name) const {
  const auto at =
      std::find_if(plans.begin(), plans.end(), [&](const PlanRow& plan) { return plan.name == name; });
  return at == plans.end() ? nullptr : &*at;
}

const PlanRow* PlanTable::holder(std::string_view reservation) const {
  for (const auto& plan : plans) {
    if (plan.state != "scheduled" && plan.state != "active") continue;
    for (const auto& segment : plan.segments) {
      if (segment.reservation == reservation) return &plan;
    }
  }
  return nullptr;
}

}  // namespace stint
