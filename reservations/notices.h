// SPDX-License-Identifier: Apache-2.0
// What people are told of their plans, and when. Most of it stands in a plan's history, which is written in
// one transaction with what it tells; the rest is a matter of the clock. Pure: who delivers it is the
// notifier.
//
// Told are the plan's owner and its users, but not who did it. What nobody needs any more (that a plan will
// begin soon, once it has begun) is not told.
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "reservations/accounts.h"
#include "reservations/ledger.h"
#include "reservations/plan.h"
#include "reservations/settings.h"

namespace stint::reservations {

struct Notice {
  std::string key;  // what it is about: there is one of each
  NoticeKind kind = NoticeKind::kSoon;
  std::string plan;
  std::vector<std::string> users;  // who are told
  std::string subject;             // one line
  std::string text;                // lines for people; none begins with '~', which mail programs obey
  std::chrono::sys_seconds made{};
  std::chrono::sys_seconds until{};  // of no use afterwards
};

// What the clock says of a plan. Begins and ends before `since` are not told.
std::vector<Notice> notices_due(const Plan& plan, const NoticeSettings& settings,
                                std::chrono::sys_seconds since, std::chrono::sys_seconds now);

// What a line of the plan's history says; `history` is all of it. None: it concerns nobody else.
std::optional<Notice> notice_of(const Plan& plan, const HistoryLine& line,
                                const std::vector<HistoryEntry>& history, const Policy& policy);

// Whether the line says that the plan costs its account more.
bool spends(const HistoryEntry& entry);
// Once for 80 and once for 100 percent of a budget.
std::optional<Notice> notice_of_budget(const Accounts::Standing& standing, const Plan& plan,
                                       std::chrono::sys_seconds now);
// A booking or change of the plan by `who` that the budget does not allow: to the budget's contacts, once a
// day.
std::optional<Notice> notice_of_refusal(const Accounts::Standing& standing, const Plan& plan,
                                        const std::string& who, const std::string& refusal,
                                        std::chrono::sys_seconds now);

OutboxEntry to_outbox(const Notice& notice);
Notice from_outbox(const OutboxEntry& entry);  // throws Error

}  // namespace stint::reservations
