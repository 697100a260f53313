// SPDX-License-Identifier: Apache-2.0
#include "reservations/calendar.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/text.h"
#include "reservations/course.h"
#include "reservations/html.h"
#include "reservations/tally.h"
#include "reservations/timeline.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr std::size_t kLongestHostList = 400;
constexpr std::size_t kLongestDetail = 400;

std::string link_to(const std::string& plan) {
  return fmt::format("<a href=\"/plans/{0}\">{0}</a>", escaped(plan));
}

std::string state_mark(PlanState state) {
  return fmt::format("<span class=\"state {0} nowrap\">{0}</span>", to_string(state));
}

std::string cell(const std::string& html, const char* css = "nowrap") {
  return fmt::format("<td class=\"{}\">{}</td>", css, html);
}

// `heads` and the cells of `rows` are HTML.
std::string table(const char* id, const std::string& heads, const std::string& rows) {
  return fmt::format(
      "<div class=\"card scroll\"><table id=\"{}\"><thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody>"
      "</table></div>\n",
      id, heads, rows);
}

std::string heads(const std::vector<std::string>& names) {
  std::string html;
  for (const auto& name : names) html += fmt::format("<th>{}</th>", name);
  return html;
}

std::string tile(const std::string& value, const std::string& words, const std::string& more = {}) {
  return fmt::format("<div class=\"tile\"><b>{}</b><span>{}</span>{}</div>\n", escaped(value), escaped(words),
                     more);
}

std::string meter(std::size_t part, std::size_t whole) {
  const double share = whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  return fmt::format("<div class=\"meter\"><i style=\"width:{:.1f}%\"></i></div>", share);
}

int count_of(const Tally& sum, const char* state) {
  const auto found = sum.plans.find(state);
  return found == sum.plans.end() ? 0 : found->second;
}

std::string tiles(const Tally& sum, sys_seconds now) {
  std::string html = "<div class=\"card tiles\">\n";
  html += tile(fmt::format("{} active", count_of(sum, "active")),
               fmt::format("plans, {} more scheduled", count_of(sum, "scheduled")));
  html += tile(fmt::format("{} of {}", sum.booked, sum.cluster), "nodes are booked now",
               meter(sum.booked, sum.cluster));
  html += tile(fmt::format("{} of {}", sum.used, sum.booked), "booked nodes run jobs",
               meter(sum.used, sum.booked));
  html += tile(std::to_string(sum.lost), "booked nodes are lost");
  html += sum.next_start ? tile("in " + people_span(*sum.next_start - now),
                                "the next segment starts, " + people_time(*sum.next_start, now))
                         : tile("–", "nothing is scheduled");
  return html + "</div>\n";
}

std::string span_links(const std::string& chosen) {
  std::string html = fmt::format("<nav aria-label=\"Time shown\"><a href=\"/\"{}>all plans</a>",
                                 chosen.empty() ? " aria-current=\"true\"" : "");
  for (const auto& name : span_names()) {
    html += fmt::format("<a href=\"/?span={0}\"{1}>{0}</a>", name,
                        name == chosen ? " aria-current=\"true\"" : "");
  }
  return html + "</nav>";
}

constexpr char kLegend[] =
    "<div class=\"legend\"><span><i class=\"active\"></i>active</span><span><i "
    "class=\"scheduled\"></i>scheduled"
    "</span><span><i class=\"booking\"></i>being booked</span><span><i></i>over</span><span><i "
    "class=\"lost\"></i>"
    "lost node</span></div>\n";

// Of the segment that is open, or the next one, or the last.
const Segment& segment_at(const Plan& plan, sys_seconds now) {
  const auto found = std::find_if(plan.segments.begin(), plan.segments.end(),
                                  [&](const Segment& segment) { return now < segment.end; });
  return found == plan.segments.end() ? plan.segments.back() : *found;
}

std::set<std::string> lost_in(const Sight& sight) {
  std::set<std::string> lost;
  for (const auto& node : sight.nodes) {
    if (node.lost) lost.insert(node.name);
  }
  return lost;
}

std::vector<std::string> lost_of(const Segment& segment, const std::set<std::string>& lost) {
  std::vector<std::string> here;
  for (const auto& node : segment.nodes) {
    if (lost.contains(node)) here.push_back(node);
  }
  return here;
}

std::string capacity(const Plan& plan, const std::set<std::string>& lost, sys_seconds now) {
  const std::string promised = fmt::format("{}+{}", plan.nodes, plan.spares);
  if (plan.segments.empty() || !plan.live_at(now)) return promised;
  const auto gone = lost_of(segment_at(plan, now), lost).size();
  return gone == 0 ? promised : fmt::format("{} <span class=\"warn\">{} lost</span>", promised, gone);
}

// Those that matter most first: open, then to come, then over.
std::vector<const Plan*> in_order(const std::vector<Plan>& plans, sys_seconds now) {
  const auto rank = [&](const Plan& plan) {
    if (!plan.live_at(now)) return 2;
    return plan.state_at(now) == PlanState::kScheduled ? 1 : 0;
  };
  std::vector<const Plan*> order;
  for (const auto& plan : plans) {
    if (!plan.segments.empty()) order.push_back(&plan);
  }
  std::stable_sort(order.begin(), order.end(), [&](const Plan* a, const Plan* b) {
    if (rank(*a) != rank(*b)) return rank(*a) < rank(*b);
    if (rank(*a) == 2) return a->segments.back().end > b->segments.back().end;
    return segment_at(*a, now).start < segment_at(*b, now).start;
  });
  return order;
}

std::string plan_row(const Plan& plan, const std::set<std::string>& lost, sys_seconds now) {
  return "<tr>" + cell(link_to(plan.name)) + cell(state_mark(plan.state_at(now))) +
         cell(escaped(plan.owner)) + cell(escaped(plan.kind.partition)) + cell(capacity(plan, lost, now)) +
         cell(escaped(people_time(plan.segments.front().start, now))) +
         cell(escaped(people_time(plan.segments.back().end, now))) +
         cell(std::to_string(plan.segments.size()), "number") +
         cell(escaped(plan.price.amount() + " " + plan.price.currency), "number nowrap") + "</tr>\n";
}

std::string plan_list(const Calendar& calendar) {
  const auto order = in_order(calendar.plans, calendar.now);
  const auto lost = lost_in(calendar.sight);
  std::string rows;
  for (std::size_t i = 0; i < std::min(order.size(), kMostPlansListed); ++i)
    rows += plan_row(*order[i], lost, calendar.now);
  std::string html =
      "<h2>Plans</h2>\n" + table("plans",
                                 heads({"Name", "State", "Owner", "Partition", "Nodes", "From", "Until"}) +
                                     "<th class=\"number\">Segments</th><th class=\"number\">Price</th>",
                                 rows);
  if (order.size() > kMostPlansListed) {
    html += fmt::format("<p class=\"soft\">And {} more; <code>stint plan list</code> shows all.</p>\n",
                        order.size() - kMostPlansListed);
  }
  return html;
}

std::string waits_note(const Sight& sight) {
  if (sight.known) return {};
  return "<p class=\"warn\">Slurm has not answered yet: nodes and jobs are unknown.</p>\n";
}

// --- the page of one plan ---

std::string fact(const char* name, const std::string& html) {
  return fmt::format("<dt>{}</dt><dd>{}</dd>\n", name, html);
}

std::string facts(const Plan& plan, sys_seconds now) {
  std::string html = "<dl class=\"card\">\n";
  if (!plan.reason.empty()) html += fact("Reason", escaped(plan.reason));
  html += fact("Owner", escaped(plan.owner));
  html += fact("Users", escaped(fmt::format("{}", fmt::join(plan.users, ", "))));
  if (!plan.accounts.empty()) {
    html += fact("Accounts", escaped(fmt::format("{}", fmt::join(plan.accounts, ", "))) +
                                 "<span class=\"soft\"> whose members may use it</span>");
  }
  if (!plan.tags.empty()) html += fact("Tags", escaped(to_string(plan.tags)));
  html += fact("Partition", escaped(plan.kind.partition));
  html +=
      fact("Nodes", fmt::format("{} and {} spare{}, on {} leaf switch{}", plan.nodes, plan.spares,
                                plan.spares == 1 ? "" : "s", plan.switches, plan.switches == 1 ? "" : "es"));
  html += fact("Price", escaped(plan.price.amount() + " " + plan.price.currency) +
                            "<span class=\"soft\"> fixed at booking; spares are free</span>");
  return html + fact("Booked", escaped(people_time(plan.created, now))) + "</dl>\n";
}

std::string segment_list(const Plan& plan, const Sight& sight, sys_seconds now) {
  const auto lost = lost_in(sight);
  std::string rows;
  for (const auto& segment : plan.segments) {
    const auto gone = plan.live_at(now) ? lost_of(segment, lost) : std::vector<std::string>{};
    const std::string warning =
        gone.empty() ? ""
                     : fmt::format(" <span class=\"warn\">lost: {}</span>", escaped(format_host_list(gone)));
    rows += "<tr>" + cell(escaped(segment.reservation)) + cell(escaped(people_time(segment.start, now))) +
            cell(escaped(people_time(segment.end, now))) + cell(people_span(segment.end - segment.start)) +
            cell(std::to_string(segment.nodes.size()), "number") +
            cell(escaped(shortened(format_host_list(segment.nodes), kLongestHostList)) + warning, "long") +
            "</tr>\n";
  }
  return "<h2>Segments</h2>\n" +
         table("segments",
               heads({"Reservation", "From", "Until", "Length"}) + "<th class=\"number\">Nodes</th><th></th>",
               rows);
}

std::string job_list(const Plan& plan, const Sight& sight) {
  if (sight.private_jobs) return {};
  std::string rows;
  std::size_t count = 0;
  for (const auto& job : sight.jobs) {
    if (!segment_of(plan, job.reservation) || ++count > kMostJobsListed) continue;
    rows += "<tr>" + cell(std::to_string(job.id)) + cell(std::string(to_string(job.state))) +
            cell(escaped(shortened(job.name, 60)), "long") + cell(escaped(job.reservation)) +
            cell(escaped(shortened(format_host_list(job.nodes), kLongestHostList)), "long") + "</tr>\n";
  }
  if (count == 0) return "<h2>Jobs</h2>\n<p class=\"card empty\">No job is in it at present.</p>\n";
  std::string html =
      "<h2>Jobs</h2>\n" + table("jobs", heads({"Job", "State", "Name", "Reservation", "Nodes"}), rows);
  if (count > kMostJobsListed)
    html += fmt::format("<p class=\"soft\">And {} more.</p>\n", count - kMostJobsListed);
  return html;
}

// The newest first: that is what people come for.
std::string history_list(const std::vector<HistoryEntry>& history, sys_seconds now) {
  if (history.empty()) return {};
  std::string rows;
  for (std::size_t i = 0; i < std::min(history.size(), kMostHistoryListed); ++i) {
    const auto& entry = history[history.size() - 1 - i];
    const sys_seconds when{seconds{static_cast<std::int64_t>(entry.t)}};
    rows += "<tr>" + cell(escaped(people_time(when, now))) + cell(escaped(entry.who)) +
            cell(escaped(entry.action)) + cell(escaped(shortened(entry.detail, kLongestDetail)), "long") +
            "</tr>\n";
  }
  return "<h2>History</h2>\n" + table("history", heads({"When", "Who", "Action", ""}), rows);
}

// The plan from its first start to its last end, with now in sight while it is live.
TimeSpan span_of_plan(const Plan& plan, sys_seconds now) {
  auto from = plan.segments.front().start;
  auto until = plan.segments.back().end;
  if (plan.live_at(now)) from = std::min(from, now);
  const auto margin = std::max<seconds>(std::chrono::minutes{5}, (until - from) / 20);
  return {from - margin, until + margin};
}

// What is lost matters only while the plan is live.
std::vector<SeenNode> nodes_of(const Plan& plan, const Sight& sight, sys_seconds now) {
  std::set<std::string> wanted;
  for (const auto& segment : plan.segments) wanted.insert(segment.nodes.begin(), segment.nodes.end());
  std::vector<SeenNode> nodes;
  for (const auto& node : sight.nodes) {
    if (!wanted.contains(node.name)) continue;
    nodes.push_back(node);
    nodes.back().lost = node.lost && plan.live_at(now);
  }
  return nodes;
}

}  // namespace

std::string calendar_page(const Calendar& calendar) {
  const auto span = span_of(calendar.span, calendar.plans, calendar.now);
  const Timeline timeline{calendar.plans, calendar.sight.nodes, calendar.now, span, calendar.anonymous};
  const std::vector<SeenNode> nameless;  // rows are plans then, which need no label
  const Timeline drawn{calendar.plans, calendar.anonymous ? nameless : calendar.sight.nodes, calendar.now,
                       span, calendar.anonymous};
  std::string body = "<header><h1>Training plans</h1>" + span_links(calendar.span) + "</header>\n" +
                     waits_note(calendar.sight) +
                     tiles(tally(calendar.plans, calendar.sight, calendar.now), calendar.now);
  body += "<div class=\"card\"><div class=\"scroll\">\n" + timeline_svg(drawn);
  if (!calendar.sight.nodes.empty()) body += booked_share_svg(timeline);
  body += std::string("</div>\n") + kLegend + "</div>\n";
  if (calendar.anonymous) {
    body +=
        "<p class=\"soft\">Whose plans these are is private here (PrivateData); <code>stint plan list</code> "
        "shows yours.</p>\n";
  } else if (calendar.plans.empty()) {
    body += "<h2>Plans</h2>\n<p class=\"card empty\">There are no plans yet.</p>\n";
  } else {
    body += plan_list(calendar);
  }
  return framed("Training plans", body, calendar.now);
}

std::string plan_page(const Plan& plan, const std::vector<HistoryEntry>& history, const Sight& sight,
                      sys_seconds now) {
  std::string body = fmt::format("<header><h1>{}</h1>{}<nav><a href=\"/\">all plans</a></nav></header>\n",
                                 escaped(plan.name), state_mark(plan.state_at(now)));
  body += waits_note(sight) + facts(plan, now);
  if (!plan.segments.empty()) {
    const std::vector<Plan> only{plan};
    const auto nodes = nodes_of(plan, sight, now);
    body += "<h2>Timeline</h2>\n<div class=\"card\"><div class=\"scroll\">\n" +
            timeline_svg({only, nodes, now, span_of_plan(plan, now)}) + "</div>\n" + kLegend + "</div>\n";
    body += segment_list(plan, sight, now);
  }
  return framed(plan.name, body + job_list(plan, sight) + history_list(history, now), now);
}

std::string message_page(std::string_view title, std::string_view text, sys_seconds now) {
  return framed(title,
                fmt::format("<header><h1>{}</h1><nav><a href=\"/\">all plans</a></nav></header>\n"
                            "<p class=\"card empty\">{}</p>\n",
                            escaped(title), escaped(text)),
                now);
}

}  // namespace stint::reservations
