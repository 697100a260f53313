// SPDX-License-Identifier: Apache-2.0
// Searches for offers and shelves them, so that they can be booked by their ids. Safe from several threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "reservations/accounts.h"
#include "reservations/capacity.h"
#include "reservations/gate.h"
#include "reservations/offers.h"
#include "reservations/settings.h"
#include "reservations/shelf.h"

namespace stint::reservations {

// What `stint plan search` asks for, as it comes over HTTP.
struct OfferRequest {
  NodeKind kind;
  std::string account;  // to be charged; empty: the default one
  int gpus = 0;         // altogether, instead of query.nodes
  OfferQuery query;     // after and before: zero where not given

  // Throws Error that names the field: wrong type, missing, out of range, unknown field.
  static OfferRequest parse(const nlohmann::json& body);
};

// How many nodes are free when: from each time on, so many.
struct Availability {
  struct Step {
    std::chrono::sys_seconds from{};
    std::size_t free = 0;
  };
  std::string partition;
  std::size_t nodes = 0;  // that qualify
  std::chrono::sys_seconds until{};
  std::vector<Step> steps;
};

struct ShelvedOffer {
  OfferRequest request;
  Offer offer;
};

struct SearchAnswer {
  std::vector<std::pair<std::string, Offer>> offers;  // with their ids
  std::size_t nodes = 0;                              // of each, spares left out
  std::optional<int> gpus_per_node;                   // none: the cluster has no GPUs
  std::set<std::string> need_approval;                // ids
  std::string approvers;                              // who may give it
  std::string reason, remedy;                         // without any; see OfferAnswer
  std::string warning;                                // may be empty
  std::chrono::sys_seconds valid_until{};
};

nlohmann::json to_json(const Availability& availability);
nlohmann::json to_json(const SearchAnswer& answer);

class OfferDesk {
 public:
  using Now = Capacity::Now;

  OfferDesk(const Capacity& capacity, const Gate& gate, const Accounts& accounts, const Settings& settings,
            Now now);

  // Throws Refusal and ClusterError.
  SearchAnswer search(OfferRequest request, std::uint32_t uid);
  Availability availability(NodeKind kind, std::chrono::seconds span) const;
  // Says in a query for nodes of this kind whether there are so many, and where else there are.
  void tell_shortage(const NodeKind& kind, const Scene& scene, OfferQuery& query) const;
  // Throws Refusal (410) when there is no such offer any more.
  ShelvedOffer find(const std::string& id) const { return shelf_.find(id, now()); }

 private:
  class Turn;

  std::chrono::sys_seconds now() const;
  OfferAnswer find(const OfferRequest& request, const Scene& scene) const;
  OfferAnswer find_best(OfferRequest& request, const Scene& scene) const;
  std::string policy_text(const OfferRequest& request, const OfferQuery& asked, const Scene& scene) const;
  std::vector<std::pair<std::string, NodeKind>> other_kinds(const NodeKind& kind) const;
  std::string budget_warning(const SearchAnswer& answer, const std::string& account) const;

  const Capacity& capacity_;
  const Gate& gate_;
  const Accounts& accounts_;
  const Settings& settings_;
  Now now_;

  Shelf<ShelvedOffer> shelf_{"stint plan search"};
  std::mutex turns_mutex_;
  std::map<std::uint32_t, int> turns_;  // searches under way, by user
};

}  // namespace stint::reservations
