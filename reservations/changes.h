// SPDX-License-Identifier: Apache-2.0
// What a booked plan could become: longer, wider, shorter, narrower. Pure: what is free comes from the
// planner, what it costs from the caller. Nodes that jobs use now are never taken from them.
#pragma once

#include <chrono>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "reservations/offers.h"
#include "reservations/plan.h"
#include "reservations/planner.h"

namespace stint::reservations {

// What `nodes` nodes cost in these windows, booked now.
using Pricing = std::function<Price(std::size_t nodes, const std::vector<Window>& windows)>;

// The plan as it is and as it would be; its price is the old one and what comes on top, or goes off.
struct Proposal {
  Plan base;
  Plan wanted;
  std::int64_t adds_cents = 0;
  std::string why;  // "the same nodes; running jobs go on"
};

struct ProposalAnswer {
  std::vector<Proposal> proposals;  // best first
  // Without any: what stands in the way, and what would work.
  std::string reason;
  std::string remedy;
};

// When what is added may be.
struct Room {
  std::chrono::sys_seconds now{};
  std::chrono::sys_seconds earliest{};  // it begins; now or later
  std::chrono::sys_seconds before{};    // it has ended
  // What the caller may do for a later end, at `latest` at most; see OfferQuery. Empty: nothing.
  std::string later_end{};
  std::chrono::sys_seconds latest{};
  std::string shortage{};  // see OfferQuery
};

// `duration` more after its last segment: on the same nodes where they are free, and as another segment.
// `planner` counts the plan's own nodes as taken while the plan lasts.
ProposalAnswer lengthen(const Plan& plan, std::chrono::seconds duration, const Planner& planner,
                        const Pricing& pricing, const Room& room);

// So many nodes and spares altogether, not fewer than now, from now on in all segments that are not over.
ProposalAnswer widen(const Plan& plan, int nodes, int spares, const Planner& planner, const Pricing& pricing,
                     std::chrono::sys_seconds now);

// Ends at `until`, later than now. Throws Error where that is not shorter.
Proposal shorten(const Plan& plan, std::chrono::sys_seconds until, const Pricing& pricing,
                 std::chrono::sys_seconds now);

// Without what is left of segment k, which is open.
Proposal cut_short(const Plan& plan, std::size_t k, const Pricing& pricing, std::chrono::sys_seconds now);

// So many nodes and spares altogether, not more than now; `busy` nodes stay. Throws Error where these are too
// many for it.
Proposal narrow(const Plan& plan, int nodes, int spares, const std::set<std::string>& busy,
                const Planner& planner, const Pricing& pricing, std::chrono::sys_seconds now);

// The nodes that `wanted` needs and `plan` does not have, which are not free any more; empty: it can be done.
std::set<std::string> taken_for(const Plan& plan, const Plan& wanted, const Planner& planner,
                                std::chrono::sys_seconds now);

}  // namespace stint::reservations
