// SPDX-License-Identifier: Apache-2.0
#include "reservations/notifier.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/one_line.h"
#include "base/process.h"
#include "base/text.h"
#include "reservations/kill_point.h"

namespace stint::reservations {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr milliseconds kRound{1'000};
constexpr std::size_t kLines = 500;  // of history, a round
constexpr seconds kLookBack = std::chrono::days{1};
constexpr seconds kFirstPause{5};
constexpr seconds kLongestPause = std::chrono::hours{1};
constexpr std::size_t kOutput = 300;  // bytes of a program's, in the log

ProcessInput input_of_command(const Notice& notice, std::int64_t id) {
  const nlohmann::json body{{"id", id},
                            {"kind", to_string(notice.kind)},
                            {"plan", notice.plan},
                            {"users", notice.users},
                            {"subject", notice.subject},
                            {"text", notice.text},
                            {"time", notice.made.time_since_epoch().count()}};
  return {body.dump() + "\n",
          {{"STINT_NOTICE_ID", std::to_string(id)},
           {"STINT_NOTICE_KIND", std::string(to_string(notice.kind))},
           {"STINT_NOTICE_PLAN", notice.plan},
           {"STINT_NOTICE_USERS", fmt::format("{}", fmt::join(notice.users, " "))},
           {"STINT_NOTICE_SUBJECT", notice.subject},
           {"STINT_NOTICE_TEXT", notice.text}}};
}

}  // namespace

std::string mail_address(const std::string& user, const std::string& domain) {
  const auto plain = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; };
  const bool safe = !user.empty() && plain(static_cast<unsigned char>(user.front())) &&
                    std::all_of(user.begin(), user.end(), [&](unsigned char c) {
                      return plain(c) || c == '.' || c == '-' || c == '+' || c == '@' || c == '$';
                    });
  if (!safe) return {};
  return domain.empty() || user.find('@') != std::string::npos ? user : user + "@" + domain;
}

seconds retry_pause(int attempts) {
  constexpr int kDoublings = 10;  // well past the longest
  return std::min(kLongestPause, kFirstPause * (1 << std::min(attempts, kDoublings)));
}

void deliver(const NoticeSettings& settings, const Notice& notice, std::int64_t id) {
  std::vector<std::string> words{settings.command};
  ProcessInput input;
  if (settings.command.empty()) {
    words = {settings.mail, "-s", notice.subject};
    for (const auto& user : notice.users) words.push_back(mail_address(user, settings.mail_domain));
    input.text = notice.text;
  } else {
    input = input_of_command(notice, id);
  }
  const auto result = run_process(words, settings.timeout, input);
  if (result.status == 0) return;
  const auto said = as_one_line(result.output, kOutput);
  fail("{}: ended with {}{}{}", words[0], result.status, said.empty() ? "" : ": ", said);
}

Notifier::Notifier(Ledger& ledger, const Accounts& accounts, Metrics& metrics, const Settings& settings,
                   Now now, Deliver deliver)
    : ledger_(ledger),
      accounts_(accounts),
      metrics_(metrics),
      settings_(settings.notices),
      policy_(settings.policy),
      now_(std::move(now)),
      deliver_(std::move(deliver)),
      mark_(ledger_.start_notices(now_())) {}

sys_seconds Notifier::now() const {
  return sys_seconds{seconds{static_cast<std::int64_t>(now_())}};
}

milliseconds Notifier::round() {
  const bool more_to_tell = make_due();
  const bool delivered = deliver_one();
  return more_to_tell || delivered ? milliseconds{} : kRound;
}

// True: there is more.
bool Notifier::make_due() {
  const auto lines = ledger_.history_after(mark_.history, kLines);
  std::vector<Notice> due;
  for (const auto& line : lines) tell(due, line);
  for (const auto& plan : ledger_.plans_between({now() - kLookBack, now() + settings_.soon})) {
    const sys_seconds since{seconds{static_cast<std::int64_t>(mark_.since)}};
    for (auto& notice : notices_due(plan, settings_, since, now())) due.push_back(std::move(notice));
  }
  make(due, lines.empty() ? mark_.history : lines.back().id);
  return lines.size() == kLines;
}

void Notifier::tell(std::vector<Notice>& due, const HistoryLine& line) const {
  const auto plan = ledger_.plan(line.plan);
  if (!plan) return;
  if (auto notice = notice_of(*plan, line, ledger_.history(line.plan), policy_))
    due.push_back(std::move(*notice));
  if (!spends(line.entry)) return;
  const auto standing = accounts_.standing(plan->account, plan->segments.front().start);
  if (!standing) return;
  if (auto notice = notice_of_budget(*standing, *plan, now())) due.push_back(std::move(*notice));
}

void Notifier::make(const std::vector<Notice>& due, std::int64_t history) {
  std::vector<OutboxEntry> entries;
  std::vector<std::string> keys;
  for (auto notice : due) {
    if (made_.contains(notice.key) || !settings_.send.contains(notice.kind) || now() >= notice.until)
      continue;
    if (reaches_anybody(notice)) entries.push_back(to_outbox(notice));
    keys.push_back(notice.key);
  }
  if (!entries.empty() || history != mark_.history) ledger_.add_notices(entries, history);
  mark_.history = history;
  made_.insert(keys.begin(), keys.end());
}

// A user that no mail can be sent to is left out.
bool Notifier::reaches_anybody(Notice& notice) const {
  if (!settings_.command.empty()) return true;
  std::erase_if(notice.users, [&](const std::string& user) {
    const bool none = mail_address(user, settings_.mail_domain).empty();
    if (none) spdlog::warn("notice of plan {}: '{}' is no mail address; left out", notice.plan, user);
    return none;
  });
  return !notice.users.empty();
}

void Notifier::give_up(const OutboxEntry& entry, const std::string& why) {
  ledger_.close_notice(entry.id);
  metrics_.count_notice("given_up");
  spdlog::error("{}; given up", why);
}

// True: there may be more.
bool Notifier::deliver_one() {
  const auto entry = ledger_.next_notice(now_());
  if (!entry) return false;
  Notice notice;
  try {
    notice = from_outbox(*entry);
  } catch (const Error& error) {  // of another version
    give_up(*entry, error.what());
    return true;
  }
  const auto what = fmt::format("notice {} ({}) of plan {}", entry->id, to_string(notice.kind), notice.plan);
  if (now() >= notice.until) {
    give_up(*entry,
            fmt::format("{}: could not be delivered in time to {}", what, fmt::join(notice.users, ", ")));
    return true;
  }
  try {
    deliver_(notice, entry->id);
  } catch (const Error& error) {
    const auto pause = retry_pause(entry->attempts);
    ledger_.retry_notice(entry->id, now_() + static_cast<double>(pause.count()));
    metrics_.count_notice("failed");
    spdlog::warn("{}: {}; tries again in {}", what, error.what(), format_duration(pause));
    return true;
  }
  kill_point("notice.delivered");
  ledger_.close_notice(entry->id);
  metrics_.count_notice("sent");
  spdlog::info("{}: sent to {}", what, fmt::join(notice.users, ", "));
  return true;
}

}  // namespace stint::reservations
