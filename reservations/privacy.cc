// SPDX-License-Identifier: Apache-2.0
#include "reservations/privacy.h"

#include <algorithm>
#include <iterator>

#include "reservations/course.h"

namespace stint::reservations {
namespace {

bool is_users(const Plan& plan, std::uint32_t uid) {
  return plan.owner_uid == uid || plan.may_use(uid);
}

}  // namespace

bool Privacy::sees_all(std::uint32_t uid) const {
  return !lookout_.sight()->private_plans || is_operator(uid);
}

// While nobody can say whether the caller is one, the caller is none.
bool Privacy::is_operator(std::uint32_t uid) const {
  try {
    return cluster_.is_operator(uid);
  } catch (const ClusterError&) {
    return false;
  }
}

// While nobody can say so, it is not.
bool Privacy::is_asked(const Plan& plan, std::uint32_t uid) const {
  if (plan.phase != Phase::kPending) return false;
  try {
    return gate_.may_approve(uid, plan.account);
  } catch (const ClusterError&) {
    return false;
  }
}

bool Privacy::may_see(const Plan& plan, std::uint32_t uid) const {
  return is_users(plan, uid) || sees_all(uid) || is_asked(plan, uid);
}

std::vector<Plan> Privacy::seen_by(std::vector<Plan> plans, std::uint32_t uid) const {
  if (sees_all(uid)) return plans;
  std::erase_if(plans, [&](const Plan& plan) { return !is_users(plan, uid) && !is_asked(plan, uid); });
  return plans;
}

std::vector<SeenJob> Privacy::jobs_of(const Plan& plan, std::uint32_t uid) const {
  const auto sight = lookout_.sight();
  std::vector<SeenJob> jobs;
  std::copy_if(sight->jobs.begin(), sight->jobs.end(), std::back_inserter(jobs),
               [&](const SeenJob& job) { return segment_of(plan, job.reservation).has_value(); });
  if (sight->private_jobs && !is_operator(uid))
    std::erase_if(jobs, [&](const SeenJob& job) { return job.uid != uid; });
  return jobs;
}

bool Privacy::may_see_job(std::uint32_t job, std::uint32_t uid) const {
  const auto sight = lookout_.sight();
  if ((!sight->private_plans && !sight->private_jobs) || is_operator(uid)) return true;
  const auto found = cluster_.job(job);
  return found && found->uid == uid;
}

}  // namespace stint::reservations
