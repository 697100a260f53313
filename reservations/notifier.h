// SPDX-License-Identifier: Apache-2.0
// Makes the notices that are due, once each, and delivers them, one in a round, the oldest first. A notice is
// in the ledger before it goes out and closed there afterwards: a stintd that is killed in between sends it
// again, and none is lost. What fails is tried again, at growing intervals, as long as it is of use to
// anybody. Not safe from several threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "reservations/accounts.h"
#include "reservations/ledger.h"
#include "reservations/metrics.h"
#include "reservations/notices.h"
#include "reservations/settings.h"

namespace stint::reservations {

// By the site's program, without a shell. Throws Error where it does not end well, or not in time.
void deliver(const NoticeSettings& settings, const Notice& notice, std::int64_t id);

// Where a user's mail goes; empty: nowhere, a mail program might take the name for something else.
std::string mail_address(const std::string& user, const std::string& domain);

// After so many attempts that failed.
std::chrono::seconds retry_pause(int attempts);

class Notifier {
 public:
  using Now = std::function<double()>;                                  // seconds since the epoch
  using Deliver = std::function<void(const Notice&, std::int64_t id)>;  // throws Error

  Notifier(Ledger& ledger, const Accounts& accounts, Metrics& metrics, const Settings& settings, Now now,
           Deliver deliver);

  // Returns how long to wait before the next round.
  std::chrono::milliseconds round();

 private:
  std::chrono::sys_seconds now() const;
  bool make_due();
  bool deliver_one();
  void give_up(const OutboxEntry& entry, const std::string& why);
  void tell(std::vector<Notice>& due, const HistoryLine& line) const;
  void make(const std::vector<Notice>& due, std::int64_t history);
  bool reaches_anybody(Notice& notice) const;

  Ledger& ledger_;
  const Accounts& accounts_;
  Metrics& metrics_;
  const NoticeSettings settings_;
  const Policy policy_;
  Now now_;
  Deliver deliver_;
  NoticeMark mark_;
  std::set<std::string> made_;  // keys; only to spare the ledger a write
};

}  // namespace stint::reservations
