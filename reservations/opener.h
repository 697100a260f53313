// SPDX-License-Identifier: Apache-2.0
// Opens the segments of plans: does what opening.h finds due. Each step is in the ledger before it is taken,
// so that a stintd that was killed goes on where it was, or clears away what is left. tend_once() is called
// by one thread; the rest is safe from several.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "reservations/cluster.h"
#include "reservations/ledger.h"
#include "reservations/metrics.h"
#include "reservations/opening.h"

namespace stint::reservations {

struct OpenerSettings {
  OpeningRules rules;
  std::string check_script;  // what a check's job runs; its exit status is the verdict
};

class Opener {
 public:
  using Now = std::function<double()>;  // seconds since the epoch

  Opener(Cluster& cluster, Ledger& ledger, Metrics& metrics, OpenerSettings settings, Now now);

  // Returns whether an opening is on its way (so that the caller looks again soon).
  bool tend_once();

  // What a check says of its node, in the words of `stint doctor node --format json`. Throws Refusal: 403 the
  // caller is neither SlurmUser nor root, 404 the job is none that checks this node in an opening that goes
  // on.
  void take_findings(std::uint32_t job, const std::string& node, const std::string& found, std::uint32_t uid);

  // How the opening of the present segment went, or how that of the next one goes: {segment, state, text};
  // null where there is nothing to say.
  nlohmann::json describe(const Plan& plan) const;

 private:
  // What a round knows of the cluster.
  struct Sight {
    std::map<std::string, ClusterNode> nodes;
    std::map<std::string, ClusterReservation> reservations;
    std::vector<ClusterJob> live;
  };

  std::chrono::sys_seconds now() const;
  void begin_due_ones(const std::vector<Plan>& plans, std::vector<Opening>& open);
  Sight look();
  void tend(const Plan& plan, Opening opening, Sight& sight);
  void write_down(const OpeningDue& due, Opening& opening);
  void carry_out(const OpeningDue& due, const Plan& plan, Opening& opening, Sight& sight);
  void close(Opening opening, const OpeningScene& scene);
  static std::vector<std::vector<std::string>> user_lists(const std::string& slurm_user);
  void create_for_any(ClusterReservation wanted, const std::vector<std::vector<std::string>>& user_lists);
  void reserve(const Plan& plan, Opening& opening, const std::vector<std::string>& nodes, const Sight& sight);
  void submit_check(const Plan& plan, Opening& opening, const std::string& node, const Sight& sight);
  void note(const Plan& plan, Opening& opening, const std::string& text);

  Cluster& cluster_;
  Ledger& ledger_;
  Metrics& metrics_;
  OpenerSettings settings_;
  Now now_;
  double looked_ = 0;                    // at Slurm, for the last time
  double watched_since_ = 0;             // without a longer gap since then
  std::map<std::string, double> woken_;  // when a node was last told to wake up
};

// What a check's job runs: this installation's `stint`, with the same stint.conf.
std::string check_script(const std::string& stint, const std::string& config);

}  // namespace stint::reservations
