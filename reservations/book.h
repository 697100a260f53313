// SPDX-License-Identifier: Apache-2.0
// The book of plans: the only place that makes, changes and ends them. Decides who may and which nodes; the
// keeper carries it out. The plan table is written after every change, for an end before the reservation
// goes: it never names one that is not there. Safe from several threads; one change at a time.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "reservations/accounts.h"
#include "reservations/capacity.h"
#include "reservations/change_request.h"
#include "reservations/changes.h"
#include "reservations/cluster.h"
#include "reservations/gate.h"
#include "reservations/idle.h"
#include "reservations/keeper.h"
#include "reservations/ledger.h"
#include "reservations/metrics.h"
#include "reservations/offer_desk.h"
#include "reservations/plan.h"
#include "reservations/refund.h"
#include "reservations/refusal.h"
#include "reservations/settings.h"
#include "reservations/shelf.h"
#include "reservations/table_rows.h"
#include "reservations/usage.h"

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

struct ExtensionOffers {
  std::vector<std::pair<std::string, Proposal>> offers;  // with their ids
  std::string reason, remedy;                            // without any
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
  // What cancel() would give back, and why; refused like it.
  std::pair<Plan, std::string> quote_cancel(const std::string& name, std::uint32_t uid, bool force);
  // From pending to booked.
  Plan approve(const std::string& name, std::uint32_t uid);
  // What an extension could be, best first, each with the id by which extend() takes it.
  ExtensionOffers offer_extension(const std::string& name, const ExtendRequest& request, std::uint32_t uid);
  Plan extend(const std::string& name, const std::string& offer, std::uint32_t uid);
  // Less time or fewer nodes; `request.quote` only says what it would be.
  Plan shrink(const std::string& name, const ShrinkRequest& request, std::uint32_t uid);
  // Who may use it. The owner always may.
  Plan share(const std::string& name, const ShareRequest& request, std::uint32_t uid);
  Plan transfer(const std::string& name, const std::string& owner, std::uint32_t uid);
  // Also a plan that is over, for the reports.
  Plan tag(const std::string& name, const TagRequest& request, std::uint32_t uid);
  Plan show(const std::string& name) const;  // 404
  std::vector<Plan> list() const;
  std::vector<HistoryEntry> history(const std::string& name) const;  // 404
  OfferDesk& offers() { return desk_; }
  const Accounts& accounts() const { return accounts_; }
  const Gate& gate() const { return gate_; }
  // Nodes that Slurm does not use at present, as of the last reconcile().
  std::vector<std::string> lost_nodes() const;

  // Ledger, reservations and plan table agree afterwards; dead nodes of plans are swapped, plans that were
  // idle for too long released. Called at start and every few seconds. Throws ClusterError when Slurm is
  // away: call again.
  void reconcile();

 private:
  std::chrono::sys_seconds now() const;
  void check_count(const std::string& subject, const std::string& owner, std::uint32_t owner_uid,
                   std::uint32_t uid) const;
  void check_name_is_free(const std::string& name) const;
  void set_people(Plan& plan, const PlanRequest& request, std::uint32_t uid) const;
  std::string account_for(const Plan& plan, const PlanRequest& request, std::uint32_t uid) const;
  void check_budget(const Plan& plan, std::int64_t more, std::uint32_t uid) const;
  void set_window(Segment& segment, const PlanRequest& request) const;
  void plan_directly(Plan& plan, const PlanRequest& request) const;
  void plan_by_offer(Plan& plan, const std::string& id, std::uint32_t uid);
  void choose_nodes(Plan& plan) const;
  [[noreturn]] void refuse_for_space(const Plan& plan, const Planner& planner, const Scene& scene) const;
  std::pair<Plan, Refund> ended(const std::string& name, std::uint32_t uid, bool force);
  Plan owned_plan(const std::string& name, std::uint32_t uid, const std::string& deed) const;
  void check_settled(const Plan& plan) const;
  Plan own_plan(const std::string& name, std::uint32_t uid, const std::string& deed) const;
  Plan changeable_plan(const std::string& name, std::uint32_t uid, const std::string& deed) const;
  Pricing pricing(const Plan& plan) const;
  Plan commit(Plan plan, const Plan& wanted, std::uint32_t uid, const std::string& action,
              const std::string& detail);
  void release_idle(const std::vector<Plan>& plans, const std::vector<ClusterJob>& jobs);
  void release(Plan plan, const IdleRow& row);
  ProposalAnswer extension_of(const Plan& plan, const ExtendRequest& request) const;
  void check_widening(const Plan& plan) const;
  void check_may_pay(const Plan& plan, std::uint32_t uid) const;
  void check_extension(const Plan& plan, std::uint32_t uid) const;
  void refresh_members(std::vector<Plan>& plans);
  void follow_members(Plan& plan, const Plan& wanted);
  void learn_facts();
  void learn_limits(const std::map<std::string, Plan>& plans);
  void publish();

  Cluster& cluster_;
  Ledger& ledger_;
  Metrics& metrics_;
  Settings settings_;
  Now now_;
  Accounts accounts_;
  Gate gate_;
  Capacity capacity_;
  OfferDesk desk_;
  UsageMeter meter_;
  IdleWatch idle_;
  Keeper keeper_;
  Shelf<Proposal> proposals_{"stint plan extend"};

  std::mutex change_;  // one change at a time
  std::optional<ClusterFacts> facts_;
  double members_due_ = 0;                               // when they are looked at again
  std::map<std::int64_t, std::string> refused_members_;  // of plans: a change that Slurm would not have
  std::map<std::string, ClusterPartition> partitions_;
  WallLimits limits_;
  std::set<std::string> limited_users_;  // whose they are
  double limits_due_ = 0;                // when they are asked for again
  std::string table_path_;
  std::string published_;   // the table's rows as last written
  std::string table_text_;  // the same with its time
  TableCut table_cut_ = TableCut::kNothing;

  mutable std::mutex lost_mutex_;
  std::vector<std::string> lost_;
};

}  // namespace stint::reservations
