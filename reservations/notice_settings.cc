// SPDX-License-Identifier: Apache-2.0
#include "reservations/notice_settings.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "reservations/settings.h"

namespace stint::reservations {
namespace {

using std::chrono::milliseconds;

constexpr std::array<std::pair<NoticeKind, std::string_view>, 15> kKinds{
    {{NoticeKind::kSoon, "soon"},
     {NoticeKind::kStarted, "started"},
     {NoticeKind::kEnding, "ending"},
     {NoticeKind::kEnded, "ended"},
     {NoticeKind::kNodeLost, "node_lost"},
     {NoticeKind::kNodeReplaced, "node_replaced"},
     {NoticeKind::kIdle, "idle"},
     {NoticeKind::kReleased, "released"},
     {NoticeKind::kBudget, "budget"},
     {NoticeKind::kApproval, "approval"},
     {NoticeKind::kApproved, "approved"},
     {NoticeKind::kBooked, "booked"},
     {NoticeKind::kChanged, "changed"},
     {NoticeKind::kCancelled, "cancelled"},
     {NoticeKind::kFailed, "failed"}}};

// Called as it stands: no shell, no search, no arguments of its own.
std::string program(const std::string& path) {
  if (path.empty() || path.front() != '/') fail("'{}' must be the absolute path of a program", path);
  if (::access(path.c_str(), X_OK) != 0) fail("'{}' cannot be run: {}", path, errno_text(errno));
  if (!std::filesystem::is_regular_file(path)) fail("'{}' cannot be run: it is no file", path);
  return path;
}

std::string domain(const std::string& text) {
  const bool plain = !text.empty() && text.size() <= 253 && text.front() != '-' &&
                     std::all_of(text.begin(), text.end(), [](unsigned char c) {
                       return std::isalnum(c) != 0 || c == '-' || c == '.';
                     });
  if (!plain) fail("'{}' is no mail domain; write example.org", text);
  return text;
}

std::set<NoticeKind> kinds(const std::string& text) {
  std::set<NoticeKind> chosen;
  for (const auto& word : split(text, ',')) chosen.insert(parse_notice_kind(word));
  return chosen;
}

using Setter = std::function<void(NoticeSettings&, const std::string&)>;

const std::map<std::string, Setter>& setters() {
  static const std::map<std::string, Setter> kSetters{
      {"mail", [](NoticeSettings& s, const std::string& v) { s.mail = program(v); }},
      {"mail_domain", [](NoticeSettings& s, const std::string& v) { s.mail_domain = domain(v); }},
      {"command", [](NoticeSettings& s, const std::string& v) { s.command = program(v); }},
      {"send", [](NoticeSettings& s, const std::string& v) { s.send = kinds(v); }},
      {"soon", [](NoticeSettings& s, const std::string& v) { s.soon = parse_duration(v); }},
      {"ending", [](NoticeSettings& s, const std::string& v) { s.ending = parse_duration(v); }},
      {"timeout",
       [](NoticeSettings& s, const std::string& v) {
         s.timeout = parse_short_time(v, milliseconds{100}, milliseconds{300'000});
       }},
  };
  return kSetters;
}

}  // namespace

std::string_view to_string(NoticeKind kind) {
  for (const auto& [value, name] : kKinds) {
    if (value == kind) return name;
  }
  return "?";
}

NoticeKind parse_notice_kind(std::string_view text) {
  std::vector<std::string_view> names;
  for (const auto& [value, name] : kKinds) {
    if (name == text) return value;
    names.push_back(name);
  }
  fail("'{}' is no kind of notice; there are {}", text, fmt::join(names, ", "));
}

NoticeSettings read_notice_settings(const IniFile& file) {
  NoticeSettings settings;
  for (const auto& [kind, name] : kKinds) settings.send.insert(kind);
  for (const auto& entry : file.entries()) {
    if (entry.section != "notices") continue;
    try {
      setters().at(entry.key)(settings, entry.value);
      if (!settings.mail.empty() && !settings.command.empty())
        fail("mail and command are both set; one of them delivers the notices, remove the other");
    } catch (const Error& error) {
      fail("{}'{}': {}", file.where(entry), entry.key, error.what());
    }
  }
  return settings;
}

}  // namespace stint::reservations
