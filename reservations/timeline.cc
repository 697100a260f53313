// SPDX-License-Identifier: Apache-2.0
#include "reservations/timeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <unordered_map>
#include <utility>

#include "base/text.h"
#include "reservations/html.h"

namespace stint::reservations {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::sys_seconds;

// All in the SVG's own units.
constexpr int kWidth = 1100;
constexpr int kGutter = 150;  // of names, at the left
constexpr int kLeafWidth = 62;
constexpr int kRight = 8;
constexpr int kPlot = kWidth - kGutter - kRight;
constexpr int kHead = 40;  // of the axis
constexpr int kTallRow = 20;
constexpr int kLowRow = 9;
constexpr std::size_t kMostTallRows = 40;
constexpr int kGroupGap = 7;
constexpr int kShareHeight = 64;
constexpr double kLetter = 6.4;  // a character of a label, about
constexpr std::size_t kLongestHostList = 160;
constexpr int kMostTicks = 12;

const std::array<std::pair<const char*, seconds>, 7> kSpans{{{"6h", hours{6}},
                                                             {"1d", hours{24}},
                                                             {"2d", hours{24 * 2}},
                                                             {"4d", hours{24 * 4}},
                                                             {"1w", hours{24 * 7}},
                                                             {"2w", hours{24 * 14}},
                                                             {"8w", hours{24 * 56}}}};
constexpr std::size_t kWithoutPlans = 4;  // the span that is shown then

std::tm local(sys_seconds time) {
  const std::time_t raw = time.time_since_epoch().count();
  std::tm fields{};
  ::localtime_r(&raw, &fields);
  return fields;
}

sys_seconds midnight_of(std::tm fields, int days_on) {
  fields.tm_hour = fields.tm_min = fields.tm_sec = 0;
  fields.tm_mday += days_on;
  fields.tm_isdst = -1;
  return sys_seconds{seconds{::mktime(&fields)}};
}

std::string clock(sys_seconds time, const char* format) {
  const std::tm fields = local(time);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), format, &fields);
  return text.data();
}

struct Tick {
  sys_seconds time;
  bool midnight = false;
};

// On whole local hours, or on every so many midnights; a day with a change of the clock keeps its midnight.
std::vector<Tick> ticks_in(const TimeSpan& span) {
  constexpr std::array<seconds, 9> kSteps{minutes{30}, hours{1},      hours{3},      hours{6},      hours{12},
                                          hours{24},   hours{24 * 2}, hours{24 * 7}, hours{24 * 28}};
  const auto step = *std::find_if(kSteps.begin(), kSteps.end() - 1, [&](seconds candidate) {
    return (span.until - span.from) / candidate <= kMostTicks;
  });
  std::vector<Tick> ticks;
  const auto days = std::max<std::int64_t>(1, step / hours{24});
  for (auto day = midnight_of(local(span.from), 0); day < span.until;) {
    const auto next = midnight_of(local(day), static_cast<int>(days));
    for (auto time = day; time < next; time += step) {
      if (time >= span.from && time < span.until) ticks.push_back({time, time == day});
    }
    day = next;
  }
  return ticks;
}

// Where a time lies, cut to the plot.
double x_of(const TimeSpan& span, sys_seconds time) {
  const double whole = static_cast<double>((span.until - span.from).count());
  const double part = static_cast<double>((time - span.from).count()) / whole;
  return kGutter + std::clamp(part, 0.0, 1.0) * kPlot;
}

std::string line(double x1, double y1, double x2, double y2, const char* css) {
  return fmt::format("<line class=\"{}\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n", css,
                     x1, y1, x2, y2);
}

std::string text_at(double x, double y, const char* css, const char* anchor, std::string_view text) {
  return fmt::format("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", css, x, y,
                     anchor, escaped(text));
}

// Weekends, behind everything.
std::string weekends(const TimeSpan& span, int top, int bottom) {
  std::string svg;
  for (auto day = midnight_of(local(span.from), 0); day < span.until;) {
    const auto next = midnight_of(local(day), 1);
    const int weekday = local(day).tm_wday;
    if (weekday == 0 || weekday == 6) {
      const double x = x_of(span, day);
      svg += fmt::format("<rect class=\"band\" x=\"{:.1f}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\"/>\n", x,
                         top, x_of(span, next) - x, bottom - top);
    }
    day = next;
  }
  return svg;
}

std::string axis(const TimeSpan& span, int bottom, bool words) {
  std::string svg;
  const auto ticks = ticks_in(span);
  const bool days_only =
      std::all_of(ticks.begin(), ticks.end(), [](const Tick& tick) { return tick.midnight; });
  for (const auto& tick : ticks) {
    const double x = x_of(span, tick.time);
    svg += line(x, words ? kHead - 6 : 0, x, bottom, "grid");
    if (!words) continue;
    svg += text_at(x, kHead - 11, tick.midnight ? "leaf" : "hour", "middle",
                   clock(tick.time, tick.midnight ? "%a %d %b" : "%H:%M"));
  }
  if (words && !days_only && !ticks.empty() && !ticks.front().midnight && x_of(span, ticks.front().time) > 0)
    svg += text_at(kGutter - 12, kHead - 11, "leaf", "end", clock(span.from, "%a %d %b"));
  return svg;
}

// Over everything.
std::string now_line(const TimeSpan& span, sys_seconds now, int bottom, bool words) {
  if (now < span.from || now >= span.until) return {};
  const double x = x_of(span, now);
  std::string svg = line(x, words ? 14 : 0, x, bottom, "nowline");
  if (words) svg += text_at(x, 10, "nowtext", "middle", "now " + clock(now, "%H:%M"));
  return svg;
}

std::string head(int height, std::string_view label, const TimeSpan& span, const char* css) {
  return fmt::format(
      "<svg class=\"{}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\" data-from=\"{}\" "
      "data-until=\"{}\" "
      "data-left=\"{}\" data-width=\"{}\">\n",
      css, kWidth, height, escaped(label), span.from.time_since_epoch().count(),
      span.until.time_since_epoch().count(), kGutter, kPlot);
}

bool drawn(const Plan& plan) {
  return plan.phase == Phase::kBooking || plan.phase == Phase::kPending || plan.phase == Phase::kBooked;
}

bool touches(const Segment& segment, const TimeSpan& span) {
  return segment.start < span.until && span.from < segment.end;
}

const char* look_of(const Plan& plan, const Segment& segment, sys_seconds now) {
  if (plan.phase == Phase::kBooking || plan.phase == Phase::kPending) return "booking";
  if (segment.end <= now) return "over";
  return segment.start <= now ? "active" : "scheduled";
}

struct Box {
  double top = 0;
  double height = 0;
  std::size_t nodes = 0;  // how many it stands for
};

class Drawing {
 public:
  explicit Drawing(const Timeline& timeline) : timeline_(timeline) {}

  std::string bar(const Plan& plan, std::size_t k, const Box& box, const std::string& label) const {
    const auto& segment = plan.segments[k];
    const char* look = look_of(plan, segment, timeline_.now);
    const double x = x_of(timeline_.span, segment.start);
    const double width = std::max(2.0, x_of(timeline_.span, segment.end) - x);
    std::string svg = fmt::format(
        "<rect class=\"bar {}\"{} x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" "
        "height=\"{:.1f}\"><title>{}</title>"
        "</rect>",
        look, identity(plan, k), x, box.top, width, box.height, escaped(hover(plan, segment, look)));
    if (box.height >= 13 && width >= static_cast<double>(label.size()) * kLetter + 12)
      svg += text_at(x + 7, box.top + std::min(box.height, 1.0 * kTallRow) / 2 + 4, "inbar", "start", label);
    if (timeline_.anonymous) return svg + "\n";
    return fmt::format("<a href=\"/plans/{}\">{}</a>\n", escaped(plan.name), svg);
  }

  std::string label(const Plan& plan, std::size_t nodes) const {
    if (!timeline_.anonymous) return plan.name;
    return fmt::format("{} node{}", nodes, nodes == 1 ? "" : "s");
  }

 private:
  std::string identity(const Plan& plan, std::size_t k) const {
    if (timeline_.anonymous) return {};
    return fmt::format(" data-plan=\"{}\" data-segment=\"{}\"", escaped(plan.name), k);
  }

  std::string hover(const Plan& plan, const Segment& segment, const char* look) const {
    const std::string when =
        fmt::format("{} to {} ({})", people_time(segment.start, timeline_.now),
                    people_time(segment.end, timeline_.now), people_span(segment.end - segment.start));
    if (timeline_.anonymous) return fmt::format("{} nodes, {}, {}", segment.nodes.size(), look, when);
    return fmt::format("{} ({}) of {}\n{}\n{} nodes: {}", plan.name, look, plan.owner, when,
                       segment.nodes.size(), shortened(format_host_list(segment.nodes), kLongestHostList));
  }

  const Timeline& timeline_;
};

// Rows that are nodes.
class NodeRows {
 public:
  explicit NodeRows(const std::vector<SeenNode>& nodes)
      : nodes_(nodes), row_(nodes.size() <= kMostTallRows ? kTallRow : kLowRow) {
    double y = kHead;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      if (i > 0 && nodes[i].leaf_switch != nodes[i - 1].leaf_switch) y += kGroupGap;
      index_[nodes[i].name] = i;
      tops_.push_back(y);
      y += row_;
    }
    bottom_ = static_cast<int>(y) + 2;
  }

  int bottom() const { return bottom_; }

  std::string names() const {
    std::string svg;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      const auto& node = nodes_[i];
      if (i == 0 || node.leaf_switch != nodes_[i - 1].leaf_switch) svg += group(i);
      if (row_ == kTallRow || node.lost) {
        svg += text_at(kGutter - 8, tops_[i] + row_ / 2.0 + 4, node.lost ? "lost" : "node", "end",
                       shortened(node.name, 12) + (node.lost ? " ✕" : ""));
      }
    }
    return svg;
  }

  // One box for each run of neighbours, so that a plan looks like one block.
  std::vector<Box> boxes(const Segment& segment) const {
    std::vector<std::size_t> rows;
    for (const auto& node : segment.nodes) {
      if (const auto found = index_.find(node); found != index_.end()) rows.push_back(found->second);
    }
    std::sort(rows.begin(), rows.end());
    std::vector<Box> boxes;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const bool joins = i > 0 && rows[i] == rows[i - 1] + 1 &&
                         nodes_[rows[i]].leaf_switch == nodes_[rows[i - 1]].leaf_switch;
      if (!joins) boxes.push_back({tops_[rows[i]] + 1, -2, 0});
      boxes.back().height += row_;
      ++boxes.back().nodes;
    }
    return boxes;
  }

  std::string lost(const TimeSpan& span, sys_seconds now) const {
    std::string svg;
    const double x = x_of(span, now);
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (!nodes_[i].lost) continue;
      svg += fmt::format(
          "<rect class=\"veil\" x=\"{1:.1f}\" y=\"{2:.1f}\" width=\"{3:.1f}\" height=\"{4}\"/>"
          "<rect class=\"lostrow\" fill=\"url(#hatch)\" data-node=\"{0}\" x=\"{1:.1f}\" y=\"{2:.1f}\" "
          "width=\"{3:.1f}\" height=\"{4}\"><title>{0}: Slurm does not use it at present</title></rect>\n",
          escaped(nodes_[i].name), x, tops_[i] + 1, kGutter + kPlot - x, row_ - 2);
    }
    return svg;
  }

 private:
  std::string group(std::size_t i) const {
    const std::string& leaf = nodes_[i].leaf_switch;
    std::string svg =
        i == 0 ? ""
               : line(0, tops_[i] - kGroupGap / 2.0, kWidth - kRight, tops_[i] - kGroupGap / 2.0, "grid");
    if (leaf.empty()) return svg;
    return svg + text_at(0, tops_[i] + row_ / 2.0 + 4, "leaf", "start", shortened(leaf, kLeafWidth / 7));
  }

  const std::vector<SeenNode>& nodes_;
  int row_;
  int bottom_ = kHead;
  std::vector<double> tops_;
  std::unordered_map<std::string, std::size_t> index_;
};

constexpr char kHatch[] =
    "<defs><pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" "
    "patternTransform=\"rotate(45)\"><line class=\"hatch\" x1=\"0\" y1=\"0\" x2=\"0\" "
    "y2=\"6\"/></pattern></defs>\n";

std::string by_node(const Timeline& timeline) {
  const NodeRows rows(timeline.nodes);
  const Drawing drawing(timeline);
  std::string svg = head(rows.bottom(), "Plans by node over time", timeline.span, "timeline by-node");
  svg += kHatch + weekends(timeline.span, kHead, rows.bottom()) + axis(timeline.span, rows.bottom(), true) +
         rows.names();
  std::size_t bars = 0;
  for (const auto& plan : timeline.plans) {
    if (!drawn(plan)) continue;
    for (std::size_t k = 0; k < plan.segments.size(); ++k) {
      if (!touches(plan.segments[k], timeline.span)) continue;
      for (const auto& box : rows.boxes(plan.segments[k])) {
        if (++bars > Timeline::kMostBars) continue;
        svg += drawing.bar(plan, k, box, drawing.label(plan, box.nodes));
      }
    }
  }
  if (bars > Timeline::kMostBars) {
    svg += text_at(kWidth - kRight, 10, "lost", "end",
                   fmt::format("{} more bars are not drawn", bars - Timeline::kMostBars));
  }
  return svg + rows.lost(timeline.span, timeline.now) +
         now_line(timeline.span, timeline.now, rows.bottom(), true) + "</svg>\n";
}

// The plans that have something to show, the first to begin first.
std::vector<const Plan*> plans_in(const Timeline& timeline) {
  std::vector<const Plan*> plans;
  for (const auto& plan : timeline.plans) {
    const bool seen = std::any_of(plan.segments.begin(), plan.segments.end(),
                                  [&](const Segment& segment) { return touches(segment, timeline.span); });
    if (drawn(plan) && seen) plans.push_back(&plan);
  }
  std::stable_sort(plans.begin(), plans.end(), [&](const Plan* a, const Plan* b) {
    const bool a_over = !a->live_at(timeline.now);
    const bool b_over = !b->live_at(timeline.now);
    if (a_over != b_over) return b_over;
    return a->segments.front().start < b->segments.front().start;
  });
  return plans;
}

std::string by_plan(const Timeline& timeline) {
  auto plans = plans_in(timeline);
  const std::size_t all = plans.size();
  plans.resize(std::min(all, Timeline::kMostPlanRows));
  const bool more = all > plans.size();
  const int bottom = kHead + kTallRow * static_cast<int>(plans.size() + (more ? 1 : 0)) + 2;
  const Drawing drawing(timeline);
  std::string svg = head(bottom, "Plans over time", timeline.span, "timeline by-plan");
  svg += weekends(timeline.span, kHead, bottom) + axis(timeline.span, bottom, true);
  double y = kHead;
  for (const auto* plan : plans) {
    if (!timeline.anonymous)
      svg += text_at(kGutter - 8, y + kTallRow / 2.0 + 4, "node", "end", shortened(plan->name, 20));
    for (std::size_t k = 0; k < plan->segments.size(); ++k) {
      if (!touches(plan->segments[k], timeline.span)) continue;
      const auto count = plan->segments[k].nodes.size();
      svg += drawing.bar(*plan, k, {y + 1, kTallRow - 2, count},
                         fmt::format("{} node{}", count, count == 1 ? "" : "s"));
    }
    y += kTallRow;
  }
  if (more) {
    svg += text_at(kGutter, y + kTallRow / 2.0 + 4, "node", "start",
                   fmt::format("and {} more plans", all - plans.size()));
  }
  return svg + now_line(timeline.span, timeline.now, bottom, true) + "</svg>\n";
}

// Booked nodes in each column of the plot, the most at any time in it.
std::vector<std::size_t> booked_columns(const Timeline& timeline) {
  std::vector<std::int64_t> change(kPlot + 1, 0);
  for (const auto& plan : timeline.plans) {
    if (!drawn(plan)) continue;
    for (const auto& segment : plan.segments) {
      if (!touches(segment, timeline.span)) continue;
      const auto first = static_cast<std::size_t>(x_of(timeline.span, segment.start) - kGutter);
      const auto last = static_cast<std::size_t>(std::ceil(x_of(timeline.span, segment.end) - kGutter));
      change[first] += static_cast<std::int64_t>(segment.nodes.size());
      change[std::max(last, std::min(first + 1, change.size() - 1))] -=
          static_cast<std::int64_t>(segment.nodes.size());
    }
  }
  std::vector<std::size_t> booked;
  std::int64_t sum = 0;
  for (std::size_t x = 0; x < kPlot; ++x) {
    sum += change[x];
    booked.push_back(static_cast<std::size_t>(std::max<std::int64_t>(sum, 0)));
  }
  return booked;
}

// The outline of the columns from left to right, with a corner at each change only.
std::string outline(const std::vector<std::size_t>& booked, std::size_t nodes, int top, int height) {
  const auto y_of = [&](std::size_t count) {
    const double part =
        std::min(1.0, static_cast<double>(count) / static_cast<double>(std::max<std::size_t>(nodes, 1)));
    return top + height * (1 - part);
  };
  std::string path = fmt::format("M{} {:.1f}", kGutter, y_of(booked.front()));
  for (std::size_t x = 1; x < booked.size(); ++x) {
    if (booked[x] == booked[x - 1]) continue;
    path += fmt::format("H{}V{:.1f}", static_cast<std::size_t>(kGutter) + x, y_of(booked[x]));
  }
  return path + fmt::format("H{}", kGutter + kPlot);
}

}  // namespace

const std::vector<std::string>& span_names() {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> names;
    for (const auto& [name, length] : kSpans) names.emplace_back(name);
    return names;
  }();
  return kNames;
}

TimeSpan span_of(const std::string& name, const std::vector<Plan>& plans, sys_seconds now) {
  auto last = now;
  for (const auto& plan : plans) {
    if (plan.live_at(now) && !plan.segments.empty()) last = std::max(last, plan.segments.back().end);
  }
  auto chosen =
      std::find_if(kSpans.begin(), kSpans.end(), [&](const auto& span) { return span.first == name; });
  if (chosen == kSpans.end()) {
    chosen = std::find_if(kSpans.begin(), kSpans.end() - 1,
                          [&](const auto& span) { return last <= now + span.second; });
  }
  if (last == now && name.empty()) chosen = kSpans.begin() + kWithoutPlans;
  const sys_seconds from =
      std::chrono::floor<minutes>(now) - std::chrono::duration_cast<minutes>(chosen->second / 12);
  return {from, from + chosen->second + chosen->second / 12};
}

std::string timeline_svg(const Timeline& timeline) {
  const bool few = !timeline.nodes.empty() && timeline.nodes.size() <= Timeline::kMostNodeRows;
  return few ? by_node(timeline) : by_plan(timeline);
}

std::string booked_share_svg(const Timeline& timeline) {
  constexpr int kTop = 16;
  constexpr int kBase = kTop + kShareHeight;
  const auto nodes = timeline.nodes.size();
  const auto path = outline(booked_columns(timeline), nodes, kTop, kShareHeight);
  return head(kBase + 2, "Booked share of the cluster over time", timeline.span, "booked-share") +
         weekends(timeline.span, kTop, kBase) + axis(timeline.span, kBase, false) +
         text_at(0, kTop + kShareHeight / 2.0 + 4, "leaf", "start", "booked") +
         text_at(kGutter - 8, kTop + 8, "node", "end", fmt::format("{} nodes", nodes)) +
         text_at(kGutter - 8, kBase, "node", "end", "0") +
         line(kGutter, kBase, kGutter + kPlot, kBase, "grid") +
         line(kGutter, kTop, kGutter + kPlot, kTop, "grid") +
         fmt::format("<path class=\"share\" d=\"{0}V{1}H{2}Z\"/><path class=\"share-edge\" d=\"{0}\"/>\n",
                     path, kBase, kGutter) +
         now_line(timeline.span, timeline.now, kBase, false) + "</svg>\n";
}

}  // namespace stint::reservations
