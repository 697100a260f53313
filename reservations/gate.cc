// SPDX-License-Identifier: Apache-2.0
#include "reservations/gate.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/text.h"
#include "reservations/counted.h"
#include "reservations/refusal.h"
#include "reservations/users.h"

namespace stint::reservations {
namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

// Cheap questions first: the last ones are for slurmctld.
bool Gate::is_among(const Who& who, std::uint32_t uid, const std::string& account) const {
  if (who.everyone || contains(who.users, user_of_uid(uid)) || cluster_.is_operator(uid)) return true;
  if (who.coordinators && accounts_.coordinates(uid, account)) return true;
  if (who.accounts.empty()) return false;
  return accounts_.is_member(uid, who.accounts);
}

void Gate::check_booker(const std::string& subject, std::uint32_t uid, const std::string& account) const {
  if (is_among(policy_.book, uid, account)) return;
  if (policy_.book.coordinators) {
    refuse(403,
           "{}: user {} may not book plans for account {}; name another --account, or ask its coordinator or "
           "an operator ([policy] book)",
           subject, user_of_uid(uid), account);
  }
  refuse(403, "{}: user {} may not book plans here; ask an operator ([policy] book)", subject,
         user_of_uid(uid));
}

bool Gate::may_approve(std::uint32_t uid, const std::string& account) const {
  return is_among(policy_.approvers, uid, account);
}

void Gate::check_approver(const std::string& subject, std::uint32_t uid, const std::string& account) const {
  if (may_approve(uid, account)) return;
  if (policy_.approvers.coordinators) {
    refuse(403,
           "{}: user {} may not approve plans of account {}; ask its coordinator or an operator ([policy] "
           "approvers)",
           subject, user_of_uid(uid), account);
  }
  refuse(403, "{}: user {} may not approve plans; ask an operator ([policy] approvers)", subject,
         user_of_uid(uid));
}

bool Gate::needs_approval(int nodes, std::int64_t cents, std::uint32_t uid,
                          const std::string& account) const {
  const bool large = (policy_.approve_above_nodes && nodes > *policy_.approve_above_nodes) ||
                     (policy_.approve_above_cents && cents > *policy_.approve_above_cents);
  return large && !is_among(policy_.approvers, uid, account);
}

std::string Gate::approvers_text(const std::string& account) const {
  const auto& who = policy_.approvers;
  auto names = who.users;
  if (!who.accounts.empty()) {
    names.push_back(fmt::format("a member of account{} {}", who.accounts.size() == 1 ? "" : "s",
                                fmt::join(who.accounts, ",")));
  }
  if (who.coordinators) names.push_back("a coordinator of account " + account);
  if (names.empty()) return "an operator";
  return fmt::format("{} or an operator", fmt::join(names, ", "));
}

void Gate::check_size(const std::string& subject, int nodes, std::chrono::seconds duration) const {
  if (policy_.max_nodes > 0 && nodes > policy_.max_nodes) {
    refuse(403, "{}: wants {} with its spares, at most {} {} allowed ([policy] max_nodes)", subject,
           counted(nodes, "node"), policy_.max_nodes, policy_.max_nodes == 1 ? "is" : "are");
  }
  if (policy_.max_duration > std::chrono::seconds{} && duration > policy_.max_duration) {
    refuse(403, "{}: wants {}, at most {} are allowed ([policy] max_duration)", subject,
           format_duration(duration), format_duration(policy_.max_duration));
  }
}

void Gate::check_start(const std::string& subject, std::chrono::sys_seconds start,
                       std::chrono::sys_seconds now) const {
  if (start < earliest(now)) {
    refuse(403, "{}: starts sooner than {} from now ([policy] min_lead); start it {} or later", subject,
           format_duration(policy_.min_lead), format_time(earliest(now)));
  }
  if (start > now + policy_.max_lead) {
    refuse(403, "{}: starts later than {} from now ([policy] max_lead)", subject,
           format_duration(policy_.max_lead));
  }
}

std::vector<std::string> Gate::partitions() const {
  std::vector<std::string> names;
  for (const auto& partition : cluster_.partitions()) {
    const auto& allowed = policy_.allowed_partitions;
    if (allowed.empty() || contains(allowed, partition.name)) names.push_back(partition.name);
  }
  return names;
}

std::string Gate::partition(const std::string& subject, const std::string& asked) const {
  std::string chosen;
  std::vector<std::string> names;
  for (const auto& partition : cluster_.partitions()) {
    names.push_back(partition.name);
    if (asked.empty() ? partition.is_default : partition.name == asked) chosen = partition.name;
  }
  if (chosen.empty() && asked.empty()) {
    refuse(400, "{}: Slurm has no default partition; name one of {}", subject, fmt::join(names, ", "));
  }
  if (chosen.empty()) {
    refuse(400, "{}: there is no partition '{}'; there are {}", subject, asked, fmt::join(names, ", "));
  }
  const auto& allowed = policy_.allowed_partitions;
  if (!allowed.empty() && !contains(allowed, chosen)) {
    refuse(403, "{}: partition {} is not for plans; use one of {}", subject, chosen,
           fmt::join(allowed, ", "));
  }
  return chosen;
}

std::vector<std::string> Gate::partition_warnings(const std::string& partition, int nodes,
                                                  std::chrono::seconds longest, const std::string& account,
                                                  std::uint32_t uid) const {
  const auto all = cluster_.partitions();
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const ClusterPartition& one) { return one.name == partition; });
  std::vector<std::string> warnings;
  if (found == all.end()) return warnings;
  if (!found->up)
    warnings.push_back(fmt::format("partition {} is not up: no job starts there now", partition));
  if (found->max_nodes && static_cast<std::uint32_t>(nodes) > *found->max_nodes) {
    warnings.push_back(fmt::format("one job may have {} of partition {} at most (MaxNodes)",
                                   counted(*found->max_nodes, "node"), partition));
  }
  if (static_cast<std::uint32_t>(nodes) < found->min_nodes)
    warnings.push_back(fmt::format("a job of partition {} has {} at least (MinNodes)", partition,
                                   counted(found->min_nodes, "node")));
  if (!policy_.exceed_max_time && found->max_time && longest > *found->max_time) {
    warnings.push_back(
        fmt::format("a job of partition {} runs for {} at a time (MaxTime), then it is requeued", partition,
                    format_duration(*found->max_time)));
  }
  const bool account_may = found->accounts.empty() ? !contains(found->denied_accounts, account)
                                                   : contains(found->accounts, account);
  if (!account_may && cluster_.members_of({}))
    warnings.push_back(
        fmt::format("account {} may not use partition {} (AllowAccounts, DenyAccounts)", account, partition));
  if (!found->allowed_qos.empty()) {
    warnings.push_back(fmt::format("a job of partition {} runs only with --qos={} (AllowQos)", partition,
                                   fmt::join(found->allowed_qos, " or ")));
  } else if (!found->denied_qos.empty()) {
    warnings.push_back(fmt::format("a job of partition {} does not run with --qos={} (DenyQos)", partition,
                                   fmt::join(found->denied_qos, " or ")));
  }
  const auto user = user_of_uid(uid);
  const auto own = groups_of_user(user);
  const bool allowed = uid == 0 || found->groups.empty() ||
                       std::any_of(own.begin(), own.end(),
                                   [&](const std::string& group) { return contains(found->groups, group); });
  if (!allowed) {
    warnings.push_back(fmt::format("user {} may not use partition {} (AllowGroups={})", user, partition,
                                   fmt::join(found->groups, ",")));
  }
  return warnings;
}

}  // namespace stint::reservations
