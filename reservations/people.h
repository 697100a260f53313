// SPDX-License-Identifier: Apache-2.0
// Who may use a plan: its users, and the members of its accounts as slurmdbd (or /etc/group) has them at
// present. Pure functions of a plan, apart from the uids of names.
#pragma once

#include <string>
#include <vector>

#include "reservations/cluster.h"
#include "reservations/plan.h"

namespace stint::reservations {

// Throws Refusal (400) where this machine has no such user.
void add_user(Plan& plan, const std::string& user);
// Throws Refusal (409) where it is none of the plan's users, or its owner.
void remove_user(Plan& plan, const std::string& user);
void add_account(Plan& plan, const std::string& account);
// Throws Refusal (409) where it is none of the plan's accounts.
void remove_account(Plan& plan, const std::string& account);

// Whether the plan's members are those of its accounts; by their names.
bool has_members(const Plan& plan, const Cluster::Members& members);
// The plan's members become those of its accounts. Who has no uid here is left out.
void set_members(Plan& plan, const Cluster::Members& members);
// Members of `before` who have a job in it stay until it ends: Slurm does not let one take them away.
void keep_members_with_jobs(Plan& plan, const Plan& before, const std::vector<ClusterJob>& jobs);
bool same_members(const Plan& a, const Plan& b);
// "+dave, -carol"
std::string membership_change(const Plan& before, const Plan& after);

}  // namespace stint::reservations
