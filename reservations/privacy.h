// SPDX-License-Identifier: Apache-2.0
// Who may see whose plans. Everybody sees all of them, unless Slurm's PrivateData hides reservations: then
// only operators, a plan's own users and, while it waits for approval, those who may give it. Safe from
// several threads.
#pragma once

#include <cstdint>
#include <vector>

#include "reservations/cluster.h"
#include "reservations/gate.h"
#include "reservations/lookout.h"
#include "reservations/plan.h"

namespace stint::reservations {

class Privacy {
 public:
  Privacy(Cluster& cluster, const Lookout& lookout, const Gate& gate)
      : cluster_(cluster), lookout_(lookout), gate_(gate) {}

  bool may_see(const Plan& plan, std::uint32_t uid) const;
  std::vector<Plan> seen_by(std::vector<Plan> plans, std::uint32_t uid) const;
  // The jobs in a plan, as they were last seen; where Slurm's PrivateData hides jobs, only the caller's own,
  // operators see all.
  std::vector<SeenJob> jobs_of(const Plan& plan, std::uint32_t uid) const;
  // What happened to a job names its plan. Throws ClusterError.
  bool may_see_job(std::uint32_t job, std::uint32_t uid) const;

 private:
  bool sees_all(std::uint32_t uid) const;
  bool is_asked(const Plan& plan, std::uint32_t uid) const;
  bool is_operator(std::uint32_t uid) const;

  Cluster& cluster_;
  const Lookout& lookout_;
  const Gate& gate_;
};

}  // namespace stint::reservations
