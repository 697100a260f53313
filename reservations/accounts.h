// SPDX-License-Identifier: Apache-2.0
// Whom a plan is charged to, and whether that account may still spend so much. Safe from several threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "reservations/cluster.h"
#include "reservations/ledger.h"
#include "reservations/money_settings.h"

namespace stint::reservations {

class Accounts {
 public:
  Accounts(Cluster& cluster, const Ledger& ledger, const MoneyRules& rules)
      : cluster_(cluster), ledger_(ledger), rules_(rules) {}

  // That the user may charge, the default one first: those of slurmdbd; where that knows none, an account of
  // the user's own name, and where there is no slurmdbd also of each of the user's Unix groups.
  std::vector<std::string> of(std::uint32_t uid) const;

  // Those too that the user coordinates, by slurmdbd.
  std::vector<std::string> within_reach(std::uint32_t uid) const;
  bool coordinates(std::uint32_t uid, const std::string& account) const;
  // Of one of these, or of one below it.
  bool is_member(std::uint32_t uid, const std::vector<std::string>& accounts) const;
  // The users of each of these and of those below it; where there is no slurmdbd, the Unix group of that
  // name, or the user. An account that does not exist is not in it.
  Cluster::Members members_of(const std::vector<std::string>& accounts) const;
  // Whose members may use a plan that the caller makes: only operators name accounts of others. Throws
  // Refusal (400, 403).
  void check_shared(const std::string& subject, const std::vector<std::string>& accounts,
                    std::uint32_t caller) const;

  // The one to charge for a plan of `owner` that `caller` books; `asked` may be empty. Only operators charge
  // accounts of others. Throws Refusal (400, 403).
  std::string choose(const std::string& subject, const std::string& asked, std::uint32_t owner,
                     std::uint32_t caller) const;

  // Which accounts' plans and sums the user may see; operators see all. `asked` alone where it is not empty.
  // Throws Refusal (403).
  std::function<bool(const std::string& account)> visible(const std::string& subject,
                                                          const std::string& asked, std::uint32_t uid) const;

  // By how much the account would overrun the budget of the period that holds `start` if it spent so much
  // more; nothing where it would not, or spends nothing.
  struct Overrun {
    std::int64_t cents = 0;  // too much
    std::string text;        // "account physics has 12.00 of 500.00 EUR left in 2026-11"
  };
  std::optional<Overrun> overrun(const std::string& account, std::int64_t more,
                                 std::chrono::sys_seconds start) const;
  // What the account has spent of the budget of that period; none: it may spend what it likes.
  struct Standing {
    std::string account;
    std::int64_t spent_cents = 0;
    std::int64_t amount_cents = 0;
    std::string currency;
    std::string period;                   // "2026-11"
    std::vector<std::string> contacts{};  // of the budget
  };
  std::optional<Standing> standing(const std::string& account, std::chrono::sys_seconds start) const;
  // Throws Refusal (403) that says by how much.
  void check_budget(const std::string& subject, const std::string& account, std::int64_t more,
                    std::chrono::sys_seconds start) const;

 private:
  Cluster& cluster_;
  const Ledger& ledger_;
  const MoneyRules& rules_;
};

}  // namespace stint::reservations
