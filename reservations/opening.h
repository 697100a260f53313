// SPDX-License-Identifier: Apache-2.0
// The opening of a segment: before it begins, its nodes are woken and checked in a short reservation of their
// own,
// "<plan>.<k>.prep", and bad ones are drained, so that the keeper swaps them before the first job sees them.
// Pure: what is known of plan, nodes, reservations, jobs and checks at a time in, what is due out. Doing it
// again does no harm. Knows nothing of Slurm's calls and of the ledger.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "reservations/cluster.h"
#include "reservations/ledger.h"
#include "reservations/plan.h"

namespace stint::reservations {

// With less time than that before a segment begins nothing is worth the trouble.
inline constexpr std::chrono::seconds kLeastOpening{25};
// So long before it, all of an opening is cleared away.
inline constexpr std::chrono::seconds kClearBefore{10};
// Of an opening's jobs at a time: a large plan must not fill slurmctld's table.
inline constexpr std::size_t kMostChecksAtOnce = 256;

struct OpeningRules {
  std::chrono::seconds before{};       // [policy] prepare_before
  std::chrono::seconds check_limit{};  // a check that runs for longer hangs
};

std::string opening_reservation(const Segment& segment);
std::string check_job_name(const std::string& node);
// The node of a job of that name; empty: it is none.
std::string node_of_check(const std::string& job_name);

// How many of a segment's nodes an opening may drain, and how many of the cluster's may be drained by
// openings at a time: when more of them fail, it is more likely the check, or something that all nodes share,
// that is at fault, and an admin has to look.
std::size_t most_drained(std::size_t nodes);

// Whether an opening of the segment should be begun now. Nodes that the plan's segment before holds until
// then are in use by the plan itself and need none.
bool opening_is_due(const Plan& plan, std::size_t k, const OpeningRules& rules, std::chrono::sys_seconds now);

struct OpeningScene {
  const Plan& plan;
  const Opening& opening;
  const std::vector<NodeCheck>& checks;
  const std::map<std::string, ClusterNode>& nodes;
  const std::map<std::string, ClusterReservation>& reservations;
  const std::vector<ClusterJob>& live;               // pending, running, completing jobs of all users
  const std::map<std::uint32_t, ClusterJob>& ended;  // of the checks' jobs those that are not live; if known
  OpeningRules rules;
  std::chrono::sys_seconds now{};
  // Since when Slurm has been looked at without a gap: what a job did before, or whether it had ended, is not
  // known.
  std::chrono::sys_seconds watched_since{};
};

struct OpeningDue {
  struct Outcome {
    std::string node;
    NodeCheck::State state;
    std::string found;
  };

  bool seen = false;                 // its reservation is there for the first time
  std::vector<std::string> reserve;  // create or change its reservation to these nodes; empty: as it is
  std::vector<std::string> wake;
  std::vector<std::string> check;                            // submit a job
  std::vector<std::pair<std::string, std::uint32_t>> adopt;  // jobs that were submitted, but not written down
  std::vector<Outcome> outcomes;                             // of checks that are over
  std::vector<std::pair<std::string, std::string>> drain;    // node and reason
  std::vector<std::uint32_t> cancel;                         // jobs
  std::vector<std::uint32_t> shorten;  // jobs that must end kClearBefore the segment begins
  bool remove = false;                 // its reservation
  bool close = false;                  // nothing of it is left
};

OpeningDue opening_due(const OpeningScene& scene);

// How it went, for people: "4 nodes checked; node2 is bad (memory: …) and was replaced; node5 not checked: in
// use".
struct OpeningSummary {
  bool anything_checked = false;
  bool all_well = true;  // nothing that an operator has to look at
  std::string text;
};
OpeningSummary summarise(const OpeningScene& scene);
// The same while it goes on.
std::string progress_text(const std::vector<NodeCheck>& checks, const Segment& segment);

}  // namespace stint::reservations
