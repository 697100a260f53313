// SPDX-License-Identifier: Apache-2.0
// What stint.conf's [policy] lets people book. Throws Refusal (400, 403) that begins with the subject ("plan
// demo", "search") and names the key of the policy. Safe from several threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "reservations/accounts.h"
#include "reservations/cluster.h"
#include "reservations/settings.h"

namespace stint::reservations {

class Gate {
 public:
  Gate(Cluster& cluster, const Accounts& accounts, const Settings& settings)
      : cluster_(cluster), accounts_(accounts), policy_(settings.policy) {}

  // Who may book a plan that is charged to the account.
  void check_booker(const std::string& subject, std::uint32_t uid, const std::string& account) const;
  // Who may say yes to such a plan where it waits for approval.
  void check_approver(const std::string& subject, std::uint32_t uid, const std::string& account) const;
  bool may_approve(std::uint32_t uid, const std::string& account) const;
  // Whether such a plan of this size and price, booked by this user, must wait for one. Approvers need none.
  bool needs_approval(int nodes, std::int64_t cents, std::uint32_t uid, const std::string& account) const;
  // Who may: "carol, a coordinator of account physics or an operator".
  std::string approvers_text(const std::string& account) const;
  // `nodes` with spares.
  void check_size(const std::string& subject, int nodes, std::chrono::seconds duration) const;
  // Before this nothing may begin that is booked now.
  std::chrono::sys_seconds earliest(std::chrono::sys_seconds now) const { return now + policy_.min_lead; }
  void check_start(const std::string& subject, std::chrono::sys_seconds start,
                   std::chrono::sys_seconds now) const;
  // Those that are for plans.
  std::vector<std::string> partitions() const;
  // The partition that was asked for, or Slurm's default one where none was.
  std::string partition(const std::string& subject, const std::string& asked) const;
  // What of the partition's own limits would keep jobs of such a plan from running; Slurm holds them to it,
  // plan or not.
  std::vector<std::string> partition_warnings(const std::string& partition, int nodes,
                                              std::chrono::seconds longest, const std::string& account,
                                              std::uint32_t uid) const;

 private:
  bool is_among(const Who& who, std::uint32_t uid, const std::string& account) const;

  Cluster& cluster_;
  const Accounts& accounts_;
  Policy policy_;
};

}  // namespace stint::reservations
