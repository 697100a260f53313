// SPDX-License-Identifier: Apache-2.0
#include "reservations/people.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "reservations/refusal.h"
#include "reservations/users.h"

namespace stint::reservations {
namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// From two lists in the same order.
bool erase(std::vector<std::string>& names, std::vector<std::uint32_t>& uids, const std::string& name) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return false;
  uids.erase(uids.begin() + (found - names.begin()));
  names.erase(found);
  return true;
}

std::set<std::string> as_set(const std::vector<std::string>& names) {
  return {names.begin(), names.end()};
}

}  // namespace

void add_user(Plan& plan, const std::string& user) {
  const auto uid = uid_of_user(user);
  if (!uid) refuse(400, "plan {}: there is no user '{}'", plan.name, user);
  if (std::find(plan.uids.begin(), plan.uids.end(), *uid) != plan.uids.end()) return;
  erase(plan.members, plan.member_uids, user);
  plan.users.push_back(user);
  plan.uids.push_back(*uid);
}

void remove_user(Plan& plan, const std::string& user) {
  if (!contains(plan.users, user)) refuse(409, "plan {}: {} is none of its users", plan.name, user);
  if (user == plan.owner) {
    refuse(409, "plan {}: {} owns it; give it to another user first with 'stint plan transfer {} USER'",
           plan.name, user, plan.name);
  }
  erase(plan.users, plan.uids, user);
}

void add_account(Plan& plan, const std::string& account) {
  if (!contains(plan.accounts, account)) plan.accounts.push_back(account);
}

void remove_account(Plan& plan, const std::string& account) {
  if (std::erase(plan.accounts, account) == 0)
    refuse(409, "plan {}: {} is none of its accounts", plan.name, account);
}

bool has_members(const Plan& plan, const Cluster::Members& members) {
  std::set<std::string> names;
  for (const auto& account : plan.accounts) {
    if (const auto found = members.find(account); found != members.end())
      names.insert(found->second.begin(), found->second.end());
  }
  for (const auto& user : plan.users) names.erase(user);
  return names == as_set(plan.members);
}

void set_members(Plan& plan, const Cluster::Members& members) {
  plan.members.clear();
  plan.member_uids.clear();
  for (const auto& account : plan.accounts) {
    const auto found = members.find(account);
    if (found == members.end()) continue;
    for (const auto& user : found->second) {
      const auto uid = uid_of_user(user);
      if (!uid || plan.may_use(*uid)) continue;
      plan.members.push_back(user);
      plan.member_uids.push_back(*uid);
    }
  }
}

void keep_members_with_jobs(Plan& plan, const Plan& before, const std::vector<ClusterJob>& jobs) {
  for (std::size_t i = 0; i < before.members.size(); ++i) {
    const auto uid = before.member_uids[i];
    const bool busy =
        std::any_of(jobs.begin(), jobs.end(), [&](const ClusterJob& job) { return job.uid == uid; });
    if (!busy || plan.may_use(uid)) continue;
    plan.members.push_back(before.members[i]);
    plan.member_uids.push_back(uid);
  }
}

bool same_members(const Plan& a, const Plan& b) {
  return as_set(a.members) == as_set(b.members);
}

std::string membership_change(const Plan& before, const Plan& after) {
  std::vector<std::string> changes;
  for (const auto& name : after.members) {
    if (!contains(before.members, name)) changes.push_back("+" + name);
  }
  for (const auto& name : before.members) {
    if (!contains(after.members, name)) changes.push_back("-" + name);
  }
  return fmt::format("{}", fmt::join(changes, ", "));
}

}  // namespace stint::reservations
