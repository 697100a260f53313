// SPDX-License-Identifier: Apache-2.0
// Other reservations that lie over a plan's segment: Slurm allows it to maintenance, and to an admin who
// insists. It starts no job of the plan on such a node that would run into the other reservation, however
// early that job begins. Pure.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "reservations/cluster.h"
#include "reservations/plan.h"

namespace stint::reservations {

// Points into the reservations it was made of.
using ReservationsOfNodes = std::unordered_map<std::string, std::vector<const ClusterReservation*>>;
ReservationsOfNodes by_node(const std::vector<ClusterReservation>& reservations);

struct Claim {
  std::string node;
  std::string reservation;
  Window window;
};

// All that are not over, by node and time, of what is still to come of the segment.
std::vector<Claim> claims_on(const Segment& segment, const ReservationsOfNodes& reservations,
                             std::chrono::sys_seconds now);

// The parts of a segment in which a job of `count` nodes finds so many that nobody claims from the part's
// start to its end, in order of time; each with these nodes, and each as long as can be. A job that runs on
// `own` nodes keeps them until the first claim on one of them that begins after `now`. Without claims that
// matter: the segment alone. Without any part: the segment too, and the job waits.
std::vector<Segment> rooms_in(const Segment& segment, const std::vector<Claim>& claims, std::size_t count,
                              const std::vector<std::string>& own, std::chrono::sys_seconds now);

// The plan as it is for one job: segments with claims in place of which stand their rooms, several of one
// reservation then. None: no claim matters. A claim that began under the running job and did not end it is
// ignored: whoever laid it over the job wants it to run on.
std::optional<Plan> cut_for(const ClusterJob& job, const Plan& plan, const ReservationsOfNodes& reservations,
                            std::chrono::sys_seconds now);

// Slurm's reservations as they were a moment ago. Safe from several threads.
class ReservationBoard {
 public:
  using Now = std::function<double()>;  // seconds since the epoch

  ReservationBoard(Cluster& cluster, Now now) : cluster_(cluster), now_(std::move(now)) {}

  // Valid as long as it is held. Throws ClusterError.
  std::shared_ptr<const ReservationsOfNodes> of_nodes();

 private:
  Cluster& cluster_;
  Now now_;
  std::mutex mutex_;
  double loaded_ = 0;
  std::shared_ptr<const ReservationsOfNodes> seen_;
};

}  // namespace stint::reservations
