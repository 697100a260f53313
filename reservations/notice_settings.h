// SPDX-License-Identifier: Apache-2.0
// [notices] of stint.conf: what people are told of their plans, and by which program.
#pragma once

#include <chrono>
#include <set>
#include <string>
#include <string_view>

#include "base/ini.h"

namespace stint::reservations {

enum class NoticeKind {
  kSoon,          // a segment is about to begin
  kStarted,       // it has begun
  kEnding,        // it is about to end
  kEnded,         // the plan is over
  kNodeLost,      // a node cannot be replaced yet
  kNodeReplaced,  // it was, or came back
  kIdle,          // will be released unless a job comes
  kReleased,      // what was left of a segment was given back
  kBudget,        // an account's budget runs out, or a booking was refused for it
  kApproval,      // is waited for; to those who may give it
  kApproved,
  kBooked,     // by another
  kChanged,    // by another
  kCancelled,  // by another
  kFailed,
};

std::string_view to_string(NoticeKind kind);
NoticeKind parse_notice_kind(std::string_view text);  // throws Error that names those there are

struct NoticeSettings {
  std::string mail;                                   // a program as `mail -s SUBJECT ADDRESS…`
  std::string mail_domain;                            // USER@mail_domain; empty: mail knows where USER's goes
  std::string command;                                // the site's own; of both at most one
  std::set<NoticeKind> send;                          // default: all
  std::chrono::seconds soon = std::chrono::hours{1};  // before a segment's start
  std::chrono::seconds ending = std::chrono::hours{1};  // before its end
  std::chrono::milliseconds timeout{10'000};            // of one delivery

  bool on() const { return !mail.empty() || !command.empty(); }
  bool operator==(const NoticeSettings&) const = default;
};

// Other sections are not looked at. Throws Error that names file, line and key.
NoticeSettings read_notice_settings(const IniFile& file);

}  // namespace stint::reservations
