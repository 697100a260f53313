// SPDX-License-Identifier: Apache-2.0
// Node failures and the fast requeue. Two loops drive it: watch_once() asks the slurmd of every node that
// runs a job with our tag, recover_once() brings each job that lost a node back: node DOWN, job pending, node
// excluded, start time shortened, running. Every step is in the ledger before it is taken, so a stintd that
// was killed goes on where it was. watch_once() and recover_once() are each called by one thread; the rest is
// safe from several.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "reservations/cluster.h"
#include "reservations/ledger.h"
#include "reservations/metrics.h"
#include "reservations/probe.h"
#include "reservations/refusal.h"

namespace stint::reservations {

struct FailureSettings {
  std::chrono::milliseconds probe_timeout{1000};
  int probes_needed = 2;
  std::chrono::milliseconds restart_grace{
      10'000};  // of a slurmd whose host answers, and whose jobs say nothing
};

struct Verdict {
  std::string verdict;  // down, healthy, unknown
  std::string action;   // for people
};

class Failures {
 public:
  using Now = std::function<double()>;  // seconds since the epoch

  Failures(Cluster& cluster, Ledger& ledger, Metrics& metrics, Prober& prober, FailureSettings settings,
           Now now);

  void watch_once();
  // Returns whether a requeue is on its way (so that the caller looks again soon).
  bool recover_once();

  // An agent's word that a node of its job is gone: only a hint, checked here at once.
  // Throws Refusal: no such job (404), not the caller's job (403), the node is not the job's (409).
  Verdict report(std::uint32_t job, const std::string& node, const std::string& why, std::uint32_t uid);

 private:
  struct Progress {  // of a recovery, since this process began to work on it
    double step_began = 0;
    double last_push = 0;
    double next_look = 0;
  };

  void refresh_nodes(const std::set<std::string>& wanted);
  std::vector<ProbeTarget> targets_of(const std::set<std::string>& nodes);
  void note_dead(const std::string& node, const std::vector<ClusterJob>& jobs, const std::string& why);
  void note_requeued_by_others(const std::vector<ClusterJob>& jobs);
  bool begin_recovery(const ClusterJob& job, const std::string& node, Recovery::Step step,
                      const std::string& why);
  bool handled(std::uint32_t job, const std::string& node) const;

  void advance(const Recovery& recovery);
  void take_down(const Recovery& recovery, const ClusterJob& job);
  void await_requeue(const Recovery& recovery, const ClusterJob& job);
  void hold(const Recovery& recovery, const ClusterJob& job);
  void await_start(const Recovery& recovery, const ClusterJob& job);
  void restart_recovery(const Recovery& recovery, const ClusterJob& job);
  void push_requeue(const Recovery& recovery, const ClusterJob& job);
  void finish(const Recovery& recovery, const std::string& event, const std::string& detail);
  void move_to(const Recovery& recovery, Recovery::Step step);
  void add_event(std::uint32_t job, const std::string& event, const std::string& node,
                 const std::string& detail);
  bool begin_is_good(const ClusterJob& job) const;
  std::chrono::sys_seconds good_begin(const ClusterJob& job) const;

  Cluster& cluster_;
  Ledger& ledger_;
  Metrics& metrics_;
  Prober& prober_;
  FailureSettings settings_;
  Now now_;

  DeadNodes dead_nodes_;                                      // watch_once() only
  std::map<std::uint32_t, std::vector<std::string>> ran_on_;  // watch_once() only: nodes a job had last
  std::map<std::int64_t, Progress> progress_;                 // recover_once() only
  std::mutex mutex_;                                          // of nodes_
  std::map<std::string, ClusterNode> nodes_;
  double nodes_loaded_ = 0;
};

}  // namespace stint::reservations
