// SPDX-License-Identifier: Apache-2.0
#include "reservations/accounts.h"

#include <fmt/format.h>

#include <algorithm>

#include "reservations/refusal.h"
#include "reservations/users.h"

namespace stint::reservations {
namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::vector<std::string> Accounts::of(std::uint32_t uid) const {
  auto accounts = cluster_.accounts_of(uid);
  if (!accounts.empty()) return accounts;
  const auto user = user_of_uid(uid);
  accounts.push_back(user);
  if (cluster_.members_of({})) return accounts;  // there is a slurmdbd, and it does not know the user
  for (const auto& group : groups_of_user(user)) {
    if (!contains(accounts, group)) accounts.push_back(group);
  }
  return accounts;
}

std::vector<std::string> Accounts::within_reach(std::uint32_t uid) const {
  auto accounts = of(uid);
  for (const auto& account : cluster_.coordinated_by(uid)) {
    if (!contains(accounts, account)) accounts.push_back(account);
  }
  return accounts;
}

bool Accounts::coordinates(std::uint32_t uid, const std::string& account) const {
  return contains(cluster_.coordinated_by(uid), account);
}

bool Accounts::is_member(std::uint32_t uid, const std::vector<std::string>& accounts) const {
  if (const auto members = cluster_.members_of(accounts)) {
    return std::any_of(members->begin(), members->end(), [user = user_of_uid(uid)](const auto& account) {
      return contains(account.second, user);
    });
  }
  const auto mine = of(uid);
  return std::any_of(mine.begin(), mine.end(),
                     [&](const std::string& name) { return contains(accounts, name); });
}

Cluster::Members Accounts::members_of(const std::vector<std::string>& accounts) const {
  if (accounts.empty()) return {};
  if (auto members = cluster_.members_of(accounts)) return *members;
  Cluster::Members members;
  for (const auto& account : accounts) {
    if (const auto group = users_of_group(account)) members[account] = *group;
    if (uid_of_user(account)) members[account].push_back(account);
  }
  return members;
}

void Accounts::check_shared(const std::string& subject, const std::vector<std::string>& accounts,
                            std::uint32_t caller) const {
  for (const auto& account : accounts) {
    if (!valid_account(account)) refuse(400, "{}: '{}' is no account's name", subject, account.substr(0, 80));
  }
  const auto known = members_of(accounts);
  for (const auto& account : accounts) {
    if (!known.contains(account))
      refuse(400, "{}: there is no account '{}' on this cluster", subject, account);
  }
  if (accounts.empty() || cluster_.is_operator(caller)) return;
  const auto mine = within_reach(caller);
  for (const auto& account : accounts) {
    if (!contains(mine, account)) {
      refuse(403,
             "{}: account {} is not yours; its members may be let in by one of them or an operator; yours "
             "are {}",
             subject, account, fmt::join(mine, ", "));
    }
  }
}

std::string Accounts::choose(const std::string& subject, const std::string& asked, std::uint32_t owner,
                             std::uint32_t caller) const {
  if (asked.empty()) return of(owner).front();
  if (!valid_account(asked)) refuse(400, "{}: '{}' is no account's name", subject, asked.substr(0, 80));
  if (cluster_.is_operator(caller)) return asked;
  const auto accounts = within_reach(caller);
  if (!contains(accounts, asked)) {
    refuse(403, "{}: account {} is not yours; you may charge {}", subject, asked, fmt::join(accounts, ", "));
  }
  return asked;
}

std::function<bool(const std::string& account)> Accounts::visible(const std::string& subject,
                                                                  const std::string& asked,
                                                                  std::uint32_t uid) const {
  if (!asked.empty()) {
    return
        [account = choose(subject, asked, uid, uid)](const std::string& other) { return other == account; };
  }
  if (cluster_.is_operator(uid)) return [](const std::string&) { return true; };
  return [accounts = of(uid)](const std::string& other) { return contains(accounts, other); };
}

std::optional<Accounts::Standing> Accounts::standing(const std::string& account,
                                                     std::chrono::sys_seconds start) const {
  const auto budget = rules_.budgets.find(account);
  if (!budget) return std::nullopt;
  const auto& currency = rules_.prices.currency;
  return Standing{account,
                  ledger_.charged(account, currency, period_around(budget->period, start)),
                  budget->cents,
                  currency,
                  period_text(budget->period, start),
                  budget->contacts};
}

std::optional<Accounts::Overrun> Accounts::overrun(const std::string& account, std::int64_t more,
                                                   std::chrono::sys_seconds start) const {
  if (more <= 0) return std::nullopt;
  const auto now = standing(account, start);
  if (!now) return std::nullopt;
  const auto left = now->amount_cents - now->spent_cents;
  if (more <= left) return std::nullopt;
  return Overrun{more - left, fmt::format("account {} has {} of {} {} left in {}", account, amount_text(left),
                                          amount_text(now->amount_cents), now->currency, now->period)};
}

void Accounts::check_budget(const std::string& subject, const std::string& account, std::int64_t more,
                            std::chrono::sys_seconds start) const {
  const auto over = overrun(account, more, start);
  if (!over) return;
  refuse(403, "{}: costs {} {} too much: {}; take fewer nodes or less time, or another --account", subject,
         amount_text(over->cents), rules_.prices.currency, over->text);
}

}  // namespace stint::reservations
