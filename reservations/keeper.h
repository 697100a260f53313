// SPDX-License-Identifier: Apache-2.0
// Keeps ledger and Slurm's reservations in step. Order of every step: the intent in the ledger, then Slurm,
// then the outcome in the ledger; so a kill at any point leaves a plan that settle() completes or undoes.
// Knows nothing of policy, offers or people's rights. Not thread-safe: its owner makes one change at a time.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "reservations/capacity.h"
#include "reservations/cluster.h"
#include "reservations/ledger.h"
#include "reservations/metrics.h"
#include "reservations/plan.h"
#include "reservations/swapper.h"

namespace stint::reservations {

class Keeper {
 public:
  using Now = std::function<double()>;  // seconds since the epoch
  using Wait = std::function<void(std::chrono::milliseconds)>;

  // `publish` writes the plan table; it is called where the table must follow before Slurm does.
  Keeper(Cluster& cluster, Ledger& ledger, Metrics& metrics, const Capacity& capacity, Now now, Wait wait,
         std::function<void()> publish);

  // From nothing to booked, or to pending where the plan needs approval. Throws Refusal: 409 when Slurm will
  // not have it, then nothing is left; 503 when Slurm or the ledger went away half-way, then reconcile()
  // decides.
  void book(Plan& plan, const std::string& who);
  // From what the plan is to what is wanted. Throws like book(); the plan is then what it was.
  void change(Plan& plan, const PlanChange& change);
  // From pending to booked.
  void approve(Plan& plan, const std::string& who);
  // Gives all back. `force` ends the jobs in it first, else they refuse it (409). Throws ClusterError when
  // they do not end; reconcile() goes on.
  void cancel(Plan& plan, bool force, const std::string& who, const std::string& why);

  // After whatever happened since: intents are completed or undone, missing reservations made again, changes
  // by an admin followed (who may use a plan: put back), nodes that are dead or claimed by others swapped.
  // Throws ClusterError when Slurm is away.
  void reconcile(std::vector<Plan>& plans, const std::vector<ClusterNode>& nodes,
                 std::chrono::sys_seconds slurm_booted);

  std::vector<ClusterJob> jobs_in(const Plan& plan) const;

 private:
  static constexpr char kItself[] = "stintd";  // in a plan's history

  static std::vector<std::string> sorted(std::vector<std::string> names);
  static bool begun(const Segment& segment, const ClusterReservation& reservation,
                    std::chrono::sys_seconds now);
  static bool same(const Segment& segment, const ClusterReservation& reservation,
                   std::chrono::sys_seconds now);
  static bool unreachable(const ClusterError& error);
  using Reservations = std::map<std::string, ClusterReservation>;

  std::chrono::sys_seconds now() const;
  HistoryEntry entry(const std::string& who, const std::string& action, const std::string& detail = {}) const;
  void move_to(Plan& plan, Phase phase, const HistoryEntry& entry);
  void fail_plan(Plan& plan, const std::string& reason);
  static Reservations by_name(const std::vector<ClusterReservation>& reservations);

  void finish_booking(Plan& plan, const std::string& who);
  void bring_about(const Plan& wanted, const Plan& before);
  void take_back(const Plan& wanted, const Plan& before);
  void carry_out(Plan& plan, const PlanChange& change);
  void end_jobs(const Plan& plan, std::chrono::milliseconds patience);
  void remove_reservation(const std::string& name);
  void finish_cancel(Plan& plan, std::chrono::milliseconds patience);

  void settle(Plan& plan, const Reservations& reservations);
  void settle_booking(Plan& plan, const Reservations& reservations);
  void settle_change(Plan& plan);
  void settle_segments(Plan& plan, const Reservations& reservations);
  void put_users_back(const Plan& plan, const Segment& segment, const ClusterReservation& found);
  static bool has_other_users(const Plan& plan, const Segment& segment, const ClusterReservation& found);
  bool may_have_forgotten(const Plan& plan);
  bool remind(const Plan& plan, const Segment& segment, const ClusterReservation& found);
  bool make_again(Plan& plan, std::size_t k);
  std::optional<std::chrono::sys_seconds> missing_since(const Plan& plan) const;
  bool wait_to_make_again(const Plan& plan, std::size_t k, const ClusterError& error);
  bool make_elsewhere(Plan& plan, std::size_t k);
  void remove_leftover(const Plan& plan, const Reservations& reservations);
  void remove_released(const Plan& plan, const Reservations& reservations);

  Cluster& cluster_;
  Ledger& ledger_;
  Metrics& metrics_;
  const Capacity& capacity_;
  Now now_;
  Wait wait_;
  std::function<void()> publish_;
  std::chrono::sys_seconds slurm_booted_{};  // as of the last reconcile()
  std::chrono::sys_seconds settled_boot_{};  // of the last one that met no error
  Swapper swapper_;
};

}  // namespace stint::reservations
