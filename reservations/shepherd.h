// SPDX-License-Identifier: Apache-2.0
// Leads the jobs of plans from segment to segment. Each round looks at every job with our tag afresh and
// takes the one step that is due, so a stintd that was killed anywhere, or a controller that was away, only
// makes it later. What a round must remember (a warning that was sent, when a job's plan was over) is in the
// ledger.
//
//   pending:  in the reservation of the segment it belongs to, with a time limit that fits; woken when its
//             segment has begun; the plan over, or no longer its user's: kept for a while, then cancelled
//             no more of them than the plan has nodes, without its spares: the others are held
//   running:  until the end of its segment, neither less nor more, or (exceed_max_time = no) as long as Slurm
//             lets it run in one go; moved on, running, where the next segment continues on its nodes;
//             without a recipe: warned before the end, then requeued into the next segment, or the rest of
//             the same one
//   ended:    by its warning or at such an end, and not by its own wish: requeued likewise
//
// A job with a recipe saves and requeues itself (see trainer/agent); it asks for its window here.
// tend_once() is called by one thread; window() is safe from several.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "reservations/claims.h"
#include "reservations/cluster.h"
#include "reservations/course.h"
#include "reservations/job_limits.h"
#include "reservations/ledger.h"
#include "reservations/metrics.h"
#include "reservations/refusal.h"

namespace stint::reservations {

struct ShepherdSettings {
  std::chrono::seconds warn_before{60};                    // [policy] warn_before
  std::chrono::seconds keep_jobs = std::chrono::hours{1};  // [policy] keep_jobs
  bool exceed_max_time = true;                             // [policy] exceed_max_time
};

class Shepherd {
 public:
  using Now = std::function<double()>;  // seconds since the epoch

  Shepherd(Cluster& cluster, Ledger& ledger, Metrics& metrics, ShepherdSettings settings, Now now);

  void tend_once();

  // Until when a running job may run and where it goes on. Its owner or an operator. Throws Refusal: 404 no
  // such job, 403 not the caller's, 409 it has no plan or does not run in it.
  JobWindow window(std::uint32_t job, std::uint32_t uid);

 private:
  struct Charge {  // a job with what is known of it
    const ClusterJob& job;
    const Plan& plan;
    JobWishes wishes;
  };

  std::chrono::sys_seconds now() const;
  const std::optional<Plan>& newest_plan(const std::string& name);
  void tend(const ClusterJob& job);
  void forget_others(const std::vector<ClusterJob>& jobs);

  void find_crowd(const std::vector<ClusterJob>& jobs);
  bool had_place(const ClusterJob& job) const;
  void send_back(const ClusterJob& job, const Plan& plan);
  void tell(std::uint32_t job, const std::string& line);
  void wait_for_place(const Charge& charge);

  void tend_pending(const Charge& charge);
  void place(const Charge& charge, std::size_t k);
  struct Loss {  // of a plan
    std::string what;
    std::string remedy;                   // the job is cancelled unless …
    std::chrono::sys_seconds earliest{};  // not known of before
  };
  void tend_stranger(const ClusterJob& job, const std::string& plan);
  void tend_homeless(const ClusterJob& job, const Loss& loss);

  void tend_running(const Charge& charge);
  std::size_t roll_over(const Charge& charge, std::size_t k);
  Leave leave_of(const ClusterJob& job) { return {limits_.of(job), settings_.exceed_max_time}; }
  JobEnd set_end(const Charge& charge, const Segment& segment);
  void tend_script(const Charge& charge, std::size_t k, const JobEnd& end);
  void warn(const Charge& charge, std::size_t k, std::chrono::sys_seconds ends);
  void send_on(const Charge& charge, std::size_t k, std::size_t next);
  void tend_ended(const Charge& charge);
  void bring_back(const Charge& charge, std::size_t k, std::chrono::sys_seconds from);

  std::optional<double> time_of_event(std::uint32_t job, const std::string& event,
                                      const std::string& detail) const;
  void add_event(std::uint32_t job, const std::string& event, const std::string& detail);

  Cluster& cluster_;
  Ledger& ledger_;
  Metrics& metrics_;
  ShepherdSettings settings_;
  Now now_;
  JobLimits limits_;
  ReservationBoard board_;

  // Of one round.
  std::map<std::string, std::optional<Plan>> plans_;
  std::set<std::uint32_t> crowd_;  // jobs that the plan's nodes have no place for

  // Only to spare Slurm and the ledger a question; losing them costs nothing.
  using Stay =
      std::tuple<std::uint32_t, std::uint32_t, std::string, std::int64_t>;  // job, restart, reservation, end
  std::set<Stay> ended_;                                                    // whose end is set
  std::map<std::uint32_t, double> look_again_;                              // after a refusal
  std::map<std::uint32_t, std::chrono::sys_seconds> placed_;                // for a segment of this start
  std::map<std::uint32_t, double> woken_;                                   // when it was last
  std::map<std::uint32_t, double> homeless_;                                // since when
  std::set<std::pair<std::uint32_t, std::uint32_t>> warned_;                // job, restart
};

}  // namespace stint::reservations
