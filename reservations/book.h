// SPDX-License-Identifier: Apache-2.0
// The book of plans: the only place that makes, changes and ends them. Order of every change: the intent in
// the ledger, then Slurm, then the outcome in the ledger, then the plan table; for an end the table comes
// before the reservation. So a kill at any point leaves a plan that reconcile() completes or undoes, and the
// table never names a reservation that is not there. Safe from several threads; one change at a time.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "reservations/capacity.h"
#include "reservations/cluster.h"
#include "reservations/gate.h"
#include "reservations/ledger.h"
#include "reservations/metrics.h"
#include "reservations/offer_desk.h"
#include "reservations/plan.h"
#include "reservations/refusal.h"
#include "reservations/settings.h"

namespace stint::reservations {

// The nodes of an offer are not free any more; with what could be had instead.
class OfferTaken : public Refusal {
 public:
  OfferTaken(const std::string& text, SearchAnswer instead)
      : Refusal(409, text), instead_(std::move(instead)) {}
  const SearchAnswer& instead() const { return instead_; }

 private:
  SearchAnswer instead_;
};

class Book {
 public:
  using Now = std::function<double()>;  // seconds since the epoch
  using Wait = std::function<void(std::chrono::milliseconds)>;

  Book(Cluster& cluster, Ledger& ledger, Metrics& metrics, Settings settings, Now now, Wait wait);

  // Books a plan for the caller, by an offer or directly. Throws Refusal with 400, 403, 409 or 410;
  // ClusterError when Slurm is away.
  Plan create(const PlanRequest& request, std::uint32_t uid);
  // Ends a plan: its owner or an operator. Jobs in it refuse the end (409) unless `force` ends them first.
  Plan cancel(const std::string& name, std::uint32_t uid, bool force);
  Plan show(const std::string& name) const;  // 404
  std::vector<Plan> list() const;
  std::vector<HistoryEntry> history(const std::string& name) const;  // 404
  OfferDesk& offers() { return desk_; }
  // Nodes that Slurm does not use at present, as of the last reconcile().
  std::vector<std::string> lost_nodes() const;

  // Ledger, reservations and plan table agree afterwards; dead nodes of plans are swapped. Called at start
  // and every few seconds. Throws ClusterError when Slurm is away: call again.
  void reconcile();

 private:
  std::chrono::sys_seconds now() const;
  void check_name_is_free(const std::string& name) const;
  void set_people(Plan& plan, const PlanRequest& request, std::uint32_t uid) const;
  void set_window(Segment& segment, const PlanRequest& request) const;
  void plan_directly(Plan& plan, const PlanRequest& request) const;
  void plan_by_offer(Plan& plan, const std::string& id, std::uint32_t uid);
  void choose_nodes(Plan& plan) const;
  [[noreturn]] void refuse_for_space(const Plan& plan, const Planner& planner) const;
  void reserve(Plan& plan);
  void note(const Plan& plan, const std::string& who, const std::string& action,
            const std::string& detail = {});
  std::vector<std::uint32_t> jobs_in(const Plan& plan) const;
  void end_jobs(const Plan& plan, std::chrono::milliseconds patience);
  void remove_reservations(const Plan& plan);
  void finish_cancel(Plan& plan, std::chrono::milliseconds patience);

  using Reservations = std::map<std::string, ClusterReservation>;
  void settle(Plan& plan, const Reservations& reservations);
  void settle_booking(Plan& plan, const Reservations& reservations);
  void settle_booked(Plan& plan, const Reservations& reservations);
  void remove_leftover(const Plan& plan, const Reservations& reservations);
  void swap_dead_nodes(Plan& plan, const std::vector<ClusterNode>& nodes);
  bool swap_node(Plan& plan, std::size_t k, const std::string& dead);
  void publish();

  Cluster& cluster_;
  Ledger& ledger_;
  Metrics& metrics_;
  Settings settings_;
  Now now_;
  Wait wait_;
  Gate gate_;
  Capacity capacity_;
  OfferDesk desk_;

  std::mutex change_;               // one change at a time
  std::set<std::string> suspects_;  // nodes of plans found unusable by the last reconcile()
  std::string table_path_;
  std::string published_;   // the table's rows as last written
  std::string table_text_;  // the same with its time

  mutable std::mutex lost_mutex_;
  std::vector<std::string> lost_;
};

}  // namespace stint::reservations
