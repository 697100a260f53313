// SPDX-License-Identifier: Apache-2.0
// Which plans hold nodes that nobody uses, since when, and when that is over by [policy] release_idle_after.
// A plan is idle while a segment of it is open and no job is in it, running or waiting for whatever reason.
// What is known is kept in the ledger, so that a stintd that is restarted goes on counting; one that was away
// for longer counts anew, for nobody saw what ran meanwhile. Not safe from several threads.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "reservations/cluster.h"
#include "reservations/ledger.h"
#include "reservations/plan.h"

namespace stint::reservations {

struct IdleRules {
  std::chrono::seconds after{};   // of idleness a segment's rest is released,
  std::chrono::seconds notice{};  // but not sooner than so long after its plan was told
};

// The open segment of a booked plan; none: it waits for the next one, or is over.
std::optional<std::size_t> open_segment(const Plan& plan, std::chrono::sys_seconds now);

// Whether the job needs the segment: in any of the plan's unless it waits for a later one, or of its name.
bool uses(const Plan& plan, std::size_t k, const ClusterJob& job);

// What is idle now, given what was known and when the plans were last looked at. Pure, as the next two.
std::vector<IdleRow> idle_now(const std::vector<Plan>& plans, const std::vector<ClusterJob>& jobs,
                              const std::vector<IdleRow>& known, std::chrono::sys_seconds looked,
                              std::chrono::sys_seconds now);
bool tell_now(const IdleRow& row, const IdleRules& rules, std::chrono::sys_seconds now);
// Of a plan that was told, or is told now.
std::chrono::sys_seconds release_time(const IdleRow& row, const IdleRules& rules,
                                      std::chrono::sys_seconds now);

class IdleWatch {
 public:
  IdleWatch(Ledger& ledger, std::optional<IdleRules> rules) : ledger_(ledger), rules_(rules) {}

  // Looks at all plans that are live. Returns what is to be released now; says in a plan's history what will
  // be.
  std::vector<IdleRow> look(const std::vector<Plan>& plans, const std::vector<ClusterJob>& jobs,
                            std::chrono::sys_seconds now);
  // Counts anew: it could not be released.
  void forget(std::int64_t plan);

 private:
  Ledger& ledger_;
  std::optional<IdleRules> rules_;
  std::optional<std::vector<IdleRow>> rows_;  // as the ledger has them
  std::chrono::sys_seconds looked_{};
};

}  // namespace stint::reservations
