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
  for (const auto& group : groups_of_user(user)) {
    if (!contains(accounts, group)) accounts.push_back(group);
  }
  return accounts;
}

std::string Accounts::choose(const std::string& subject, const std::string& asked, std::uint32_t owner,
                             std::uint32_t caller) const {
  if (asked.empty()) return of(owner).front();
  if (!valid_account(asked)) refuse(400, "{}: '{}' is no account's name", subject, asked.substr(0, 80));
  if (cluster_.is_operator(caller)) return asked;
  const auto accounts = of(caller);
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

std::optional<Accounts::Overrun> Accounts::overrun(const std::string& account, std::int64_t more,
                                                   std::chrono::sys_seconds start) const {
  const auto budget = rules_.budgets.find(account);
  if (!budget || more <= 0) return std::nullopt;
  const auto& currency = rules_.prices.currency;
  const auto left = budget->cents - ledger_.charged(account, currency, period_around(budget->period, start));
  if (more <= left) return std::nullopt;
  return Overrun{more - left,
                 fmt::format("account {} has {} of {} {} left in {}", account, amount_text(left),
                             amount_text(budget->cents), currency, period_text(budget->period, start))};
}

void Accounts::check_budget(const std::string& subject, const std::string& account, std::int64_t more,
                            std::chrono::sys_seconds start) const {
  const auto over = overrun(account, more, start);
  if (!over) return;
  refuse(403, "{}: costs {} {} too much: {}; take fewer nodes or less time, or another --account", subject,
         amount_text(over->cents), rules_.prices.currency, over->text);
}

}  // namespace stint::reservations
