// SPDX-License-Identifier: Apache-2.0
#include "reservations/notices.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/one_line.h"
#include "base/text.h"

namespace stint::reservations {
namespace {

using nlohmann::json;
using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr std::size_t kSubject = 150;  // bytes
constexpr std::size_t kDetail = 1'000;
constexpr seconds kOfUse = std::chrono::days{1};  // what has no end of its own

std::int64_t unix_of(sys_seconds time) {
  return time.time_since_epoch().count();
}

sys_seconds time_of(double t) {
  return sys_seconds{seconds{static_cast<std::int64_t>(t)}};
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::vector<std::string> without(std::vector<std::string> names, const std::string& who) {
  std::vector<std::string> others;
  for (auto& name : names) {
    if (name != who && !contains(others, name)) others.push_back(std::move(name));
  }
  return others;
}

std::vector<std::string> people_of(const Plan& plan) {
  auto people = plan.users;
  people.insert(people.begin(), plan.owner);
  return without(people, "");
}

// `lines` are sentences for people; what others have written into them (reasons, names of nodes) breaks no
// line.
Notice make(NoticeKind kind, const std::string& key, const Plan& plan, std::vector<std::string> users,
            const std::string& subject, const std::vector<std::string>& lines, sys_seconds now) {
  Notice notice{key, kind, plan.name,   std::move(users), "stint: " + as_one_line(subject, kSubject),
                {},  now,  now + kOfUse};
  for (const auto& line : lines) {
    const auto plain = as_one_line(line, kDetail);
    notice.text += (plain.starts_with('~') ? " " : "") + plain + "\n";
  }
  return notice;
}

std::string look(const Plan& plan) {
  return fmt::format("See 'stint plan show {0}' and 'stint plan history {0}'.", plan.name);
}

// ---- by the clock

std::string segment_text(const Plan& plan, std::size_t k) {
  return plan.segments.size() == 1 ? "plan " + plan.name : fmt::format("segment {} of plan {}", k, plan.name);
}

std::string capacity_text(const Plan& plan, const Segment& segment) {
  return fmt::format("It has {} node{} and {} spare{} ({}) until {}.", plan.nodes, plan.nodes == 1 ? "" : "s",
                     plan.spares, plan.spares == 1 ? "" : "s", format_host_list(segment.nodes),
                     format_time(segment.end));
}

// Segments without a gap are one to people.
bool continues_before(const Plan& plan, std::size_t k) {
  return k > 0 && plan.segments[k - 1].end >= plan.segments[k].start;
}

class Clock {
 public:
  Clock(const Plan& plan, const NoticeSettings& settings, sys_seconds since, sys_seconds now)
      : plan_(plan), settings_(settings), since_(since), now_(now) {}

  std::vector<Notice> due() && {
    for (std::size_t k = 0; k < plan_.segments.size(); ++k) {
      if (!continues_before(plan_, k)) look_at_start(k);
      if (k + 1 == plan_.segments.size() || !continues_before(plan_, k + 1)) look_at_end(k);
    }
    look_at_last_end();
    return std::move(due_);
  }

 private:
  void look_at_start(std::size_t k) {
    const auto& segment = plan_.segments[k];
    const auto what = segment_text(plan_, k);
    if (segment.start - settings_.soon <= now_ && now_ < segment.start) {
      add(NoticeKind::kSoon, fmt::format("{} {}", k, unix_of(segment.start)),
          fmt::format("{} begins at {}", what, format_time(segment.start)),
          {capacity_text(plan_, segment),
           fmt::format("Jobs that wait in it, submitted with --training-plan={}, start then.", plan_.name)},
          segment.start);
    }
    if (since_ <= segment.start && segment.start <= now_ && now_ < segment.end) {
      add(NoticeKind::kStarted, std::to_string(k),
          fmt::format("{} began at {}", what, format_time(segment.start)),
          {capacity_text(plan_, segment),
           fmt::format("Use it: sbatch --training-plan={} SCRIPT", plan_.name)},
          segment.end);
    }
  }

  void look_at_end(std::size_t k) {
    const auto& segment = plan_.segments[k];
    // Of a segment that is shorter than that, people hear in its second half.
    const auto from =
        std::max(segment.end - settings_.ending, segment.start + (segment.end - segment.start) / 2);
    if (now_ < from || now_ >= segment.end) return;
    const bool last = k + 1 == plan_.segments.size();
    add(NoticeKind::kEnding, fmt::format("{} {}", k, unix_of(segment.end)),
        fmt::format("{} ends at {}", segment_text(plan_, k), format_time(segment.end)),
        {last ? fmt::format("Jobs in it end then. For more time: stint plan extend {}", plan_.name)
              : fmt::format("Jobs in it are requeued and go on in segment {}, which begins at {}.", k + 1,
                            format_time(plan_.segments[k + 1].start))},
        segment.end);
  }

  void look_at_last_end() {
    const auto& last = plan_.segments.back();
    if (last.released || last.end < since_ || last.end > now_ || now_ >= last.end + kOfUse) return;
    add(NoticeKind::kEnded, "", fmt::format("plan {} is over since {}", plan_.name, format_time(last.end)),
        {"How much of it was used stands in 'stint plan show'."}, last.end + kOfUse);
  }

  void add(NoticeKind kind, const std::string& key, const std::string& subject,
           std::vector<std::string> lines, sys_seconds until) {
    std::string first = subject + ".";
    first.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(first.front())));
    lines.insert(lines.begin(), first);
    lines.push_back(look(plan_));
    due_.push_back(make(kind, fmt::format("{} plan {} {}", to_string(kind), plan_.id, key), plan_,
                        people_of(plan_), subject, lines, now_));
    due_.back().until = until;
  }

  const Plan& plan_;
  const NoticeSettings& settings_;
  const sys_seconds since_;
  const sys_seconds now_;
  std::vector<Notice> due_;
};

// ---- by history

struct Deed {
  std::string_view action;
  NoticeKind kind;
  std::string_view subject;  // behind "plan NAME "
  std::string_view advice;   // {0}: the plan's name; may be empty
};

constexpr std::array<Deed, 18> kDeeds{{
    {"booked", NoticeKind::kBooked, "is booked", ""},
    {"asked for", NoticeKind::kApproval, "waits for approval",
     "Say yes with 'stint plan approve {0}'; without it the plan fails when it begins."},
    {"approved", NoticeKind::kApproved, "is approved", "Use it: sbatch --training-plan={0} SCRIPT"},
    {"extended", NoticeKind::kChanged, "is extended", ""},
    {"shrunk", NoticeKind::kChanged, "is shrunk", ""},
    {"shared", NoticeKind::kChanged, "has other users", ""},
    {"transferred", NoticeKind::kChanged, "has another owner", ""},
    {"reservation changed", NoticeKind::kChanged, "was changed by an admin", ""},
    {"reservation missing", NoticeKind::kChanged, "has lost its reservation", "Ask an admin."},
    {"reservation back", NoticeKind::kChanged, "has its reservation again", ""},
    {"node swapped", NoticeKind::kNodeReplaced, "has another node", ""},
    {"node back", NoticeKind::kNodeReplaced, "has a node back", ""},
    {"node lost", NoticeKind::kNodeLost, "has lost a node", "It is replaced as soon as one is free."},
    {"nodes claimed", NoticeKind::kNodeLost, "shares nodes with another reservation", ""},
    {"idle", NoticeKind::kIdle, "is idle and will be released",
     "Keep it with a job: sbatch --training-plan={0} SCRIPT. Give it back now: stint plan cancel {0}"},
    {"released", NoticeKind::kReleased, "has given back time that nobody used",
     "Segments to come stay. For more time: stint plan search"},
    {"cancelled", NoticeKind::kCancelled, "is cancelled", ""},
    {"failed", NoticeKind::kFailed, "has failed", ""},
}};

// "cancelled" is the second half of what somebody began.
HistoryEntry begun_by(const HistoryEntry& entry, const std::vector<HistoryEntry>& history) {
  if (entry.action != "cancelled") return entry;
  const auto begin = std::find_if(history.rbegin(), history.rend(), [](const HistoryEntry& one) {
    return one.action.starts_with("cancelling");
  });
  return begin == history.rend() ? entry : *begin;
}

// ---- of budgets

std::string spent_text(const Accounts::Standing& standing) {
  return fmt::format("Account {} has spent {} of {} {} for plans in {}.", standing.account,
                     amount_text(standing.spent_cents), amount_text(standing.amount_cents), standing.currency,
                     standing.period);
}

}  // namespace

std::vector<Notice> notices_due(const Plan& plan, const NoticeSettings& settings, sys_seconds since,
                                sys_seconds now) {
  if (plan.phase != Phase::kBooked || plan.segments.empty()) return {};
  return Clock(plan, settings, since, now).due();
}

std::optional<Notice> notice_of(const Plan& plan, const HistoryLine& line,
                                const std::vector<HistoryEntry>& history, const Policy& policy) {
  const auto* const deed = std::find_if(kDeeds.begin(), kDeeds.end(),
                                        [&](const Deed& one) { return one.action == line.entry.action; });
  if (deed == kDeeds.end()) return std::nullopt;
  const auto begun = begun_by(line.entry, history);
  const bool asks = deed->kind == NoticeKind::kApproval;
  const auto users = without(asks ? policy.approvers.users : people_of(plan), begun.who);
  if (users.empty()) return std::nullopt;
  const auto subject = fmt::format("plan {} {}", plan.name, deed->subject);
  std::vector<std::string> lines{fmt::format("Plan {} {}; by {}, {}.", plan.name, deed->subject, begun.who,
                                             format_time(time_of(line.entry.t)))};
  if (!begun.detail.empty()) lines.push_back(begun.detail);
  if (!deed->advice.empty()) lines.push_back(fmt::format(fmt::runtime(deed->advice), plan.name));
  lines.push_back(look(plan));
  auto notice = make(deed->kind, fmt::format("history {}", line.id), plan, users, subject, lines,
                     time_of(line.entry.t));
  if (deed->kind == NoticeKind::kIdle) notice.until = notice.made + policy.release_notice;
  return notice;
}

bool spends(const HistoryEntry& entry) {
  return entry.action == "booked" || entry.action == "asked for" || entry.action == "extended";
}

std::optional<Notice> notice_of_budget(const Accounts::Standing& standing, const Plan& plan,
                                       sys_seconds now) {
  if (standing.amount_cents <= 0) return std::nullopt;
  const auto percent =
      static_cast<std::int64_t>(static_cast<__int128>(standing.spent_cents) * 100 / standing.amount_cents);
  if (percent < 80) return std::nullopt;
  const int step = percent < 100 ? 80 : 100;
  auto users = standing.contacts;
  users.push_back(plan.owner);
  return make(
      NoticeKind::kBudget,
      fmt::format("budget {} {} {} of {}", standing.account, standing.period, step, standing.amount_cents),
      plan, without(users, ""),
      fmt::format("account {} has spent {} % of its budget of {}", standing.account, percent,
                  standing.period),
      {spent_text(standing),
       fmt::format("The last was plan {} of {}, {} {}.", plan.name, plan.owner, plan.price.amount(),
                   plan.price.currency),
       fmt::format("See 'stint plan report --account {}'.", standing.account)},
      now);
}

std::optional<Notice> notice_of_refusal(const Accounts::Standing& standing, const Plan& plan,
                                        const std::string& who, const std::string& refusal, sys_seconds now) {
  const auto users = without(standing.contacts, who);
  if (users.empty()) return std::nullopt;
  const auto day = std::chrono::floor<std::chrono::days>(now).time_since_epoch().count();
  return make(
      NoticeKind::kBudget, fmt::format("budget {} refused {} {}", standing.account, who, day), plan, users,
      fmt::format("the budget of account {} refused a plan of {}", standing.account, who),
      {refusal, spent_text(standing), fmt::format("See 'stint plan report --account {}'.", standing.account)},
      now);
}

OutboxEntry to_outbox(const Notice& notice) {
  const json body{{"kind", to_string(notice.kind)}, {"plan", notice.plan}, {"users", notice.users},
                  {"subject", notice.subject},      {"text", notice.text}, {"until", unix_of(notice.until)}};
  OutboxEntry entry;
  entry.key = notice.key;
  entry.body = body.dump(-1, ' ', false, json::error_handler_t::replace);
  entry.made = entry.next = static_cast<double>(unix_of(notice.made));
  return entry;
}

Notice from_outbox(const OutboxEntry& entry) {
  try {
    const auto body = json::parse(entry.body);
    return {entry.key,           parse_notice_kind(body.at("kind").get<std::string>()),
            body.at("plan"),     body.at("users"),
            body.at("subject"),  body.at("text"),
            time_of(entry.made), sys_seconds{seconds{body.at("until").get<std::int64_t>()}}};
  } catch (const json::exception& error) {
    fail("notice {}: cannot be read: {}", entry.key, error.what());
  }
}

}  // namespace stint::reservations
