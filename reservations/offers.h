// SPDX-License-Identifier: Apache-2.0
// Offers: the ways to give somebody nodes for a time, ranked and explained, or the reason why there is none.
// Pure: what is free comes from the planner, what it costs from the tariff, what time it is from the caller.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "reservations/money.h"
#include "reservations/planner.h"

namespace stint::reservations {

// Of one block first, then of splits; kFinish: what is best in something before the rest.
enum class OfferOrder { kFinish, kPrice, kSwitches };

struct OfferQuery {
  std::size_t nodes = 0;   // > 0
  std::size_t spares = 0;  // free of charge
  std::chrono::seconds duration{};
  std::chrono::sys_seconds after{};   // not before this; offers begin on whole minutes
  std::chrono::sys_seconds before{};  // all is over by then
  std::chrono::sys_seconds latest{};  // what `before` could be at most; none: any time
  // What the caller may do for a later end: "give --before {}", the braces being the time; empty: nothing.
  std::string later_end = "give --before {}";
  std::string split = "--segments {} splits it";  // the same for splits, the braces being how many
  // Why there are fewer nodes than wanted at whatever time, and where there are enough; empty: there are.
  std::string shortage{}, elsewhere{};
  std::size_t max_segments = 1;
  std::chrono::seconds min_segment{};  // at least a minute
  std::optional<std::int64_t> max_cents;
  // When the tariff changes: the cheapest block begins or ends there, or where its time does.
  std::vector<std::chrono::sys_seconds> price_edges{};
  OfferOrder order = OfferOrder::kFinish;
  std::size_t most = 5;  // offers
};

struct OfferSegment {
  Window window;
  std::vector<std::string> nodes;  // spares included
  std::size_t switches = 0;        // leaf switches that they hang on
};

struct Offer {
  std::vector<OfferSegment> segments;  // in order of time
  Price price;
  std::string why;  // it is shown where it is: "ends first, cheapest"

  std::chrono::sys_seconds finish() const { return segments.back().window.end; }
  bool is_split() const { return segments.size() > 1; }
  std::size_t switches() const;  // of the worst segment
};

struct OfferAnswer {
  std::vector<Offer> offers;
  // Without offers: what stands in the way, and the nearest thing that would work.
  std::string reason;
  std::string remedy;
  bool short_of_nodes = false;  // at whatever time
};

// What `nodes` nodes cost in the windows of a plan.
using Tariff = std::function<Price(std::size_t nodes, const std::vector<Window>& windows)>;

// Deterministic. At most a few dozen starts are looked at closely: some of the first of each time in which a
// block fits and of the whole hours within it, and the cheapest of all, which the edges of the tariff give.
OfferAnswer find_offers(const Planner& planner, const Tariff& tariff, const OfferQuery& query);

}  // namespace stint::reservations
