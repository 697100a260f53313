// SPDX-License-Identifier: Apache-2.0
#include "reservations/privacy.h"

#include <algorithm>

namespace stint::reservations {
namespace {

bool is_users(const Plan& plan, std::uint32_t uid) {
  return plan.owner_uid == uid || std::find(plan.uids.begin(), plan.uids.end(), uid) != plan.uids.end();
}

}  // namespace

// While nobody can say whether the caller is an operator, the caller is none.
bool Privacy::sees_all(std::uint32_t uid) const {
  if (!lookout_.sight()->private_plans) return true;
  try {
    return cluster_.is_operator(uid);
  } catch (const ClusterError&) {
    return false;
  }
}

bool Privacy::may_see(const Plan& plan, std::uint32_t uid) const {
  return is_users(plan, uid) || sees_all(uid);
}

std::vector<Plan> Privacy::seen_by(std::vector<Plan> plans, std::uint32_t uid) const {
  if (!sees_all(uid)) std::erase_if(plans, [&](const Plan& plan) { return !is_users(plan, uid); });
  return plans;
}

bool Privacy::may_see_job(std::uint32_t job, std::uint32_t uid) const {
  if (sees_all(uid)) return true;
  const auto found = cluster_.job(job);
  return found && found->uid == uid;
}

}  // namespace stint::reservations
