// SPDX-License-Identifier: Apache-2.0
#include "reservations/offer_ranking.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <tuple>

#include "base/text.h"

namespace stint::reservations {
namespace {

using std::chrono::sys_seconds;

constexpr auto kHighest = std::numeric_limits<std::int64_t>::max();

// The best of some offers in each thing, and the worst.
struct Bests {
  sys_seconds first = sys_seconds::max();
  std::int64_t cheapest = kHighest;
  std::int64_t dearest = -kHighest;
  std::size_t fewest_switches = std::numeric_limits<std::size_t>::max();
  std::size_t most_switches = 0;

  void add(const Offer& offer) {
    first = std::min(first, offer.finish());
    cheapest = std::min(cheapest, offer.price.cents);
    dearest = std::max(dearest, offer.price.cents);
    fewest_switches = std::min(fewest_switches, offer.switches());
    most_switches = std::max(most_switches, offer.switches());
  }
  bool ends_first(const Offer& offer) const { return offer.finish() == first; }
  bool is_cheapest(const Offer& offer) const { return cheapest != dearest && offer.price.cents == cheapest; }
  bool has_fewest_switches(const Offer& offer) const {
    return fewest_switches != most_switches && offer.switches() == fewest_switches;
  }
  bool is_best(const Offer& offer) const {
    return ends_first(offer) || is_cheapest(offer) || has_fewest_switches(offer);
  }
};

std::tuple<std::int64_t, std::int64_t, std::int64_t, std::size_t> key(const Offer& offer, OfferOrder order) {
  const auto finish = static_cast<std::int64_t>(offer.finish().time_since_epoch().count());
  const auto cents = offer.price.cents;
  const auto switches = static_cast<std::int64_t>(offer.switches());
  const auto segments = offer.segments.size();
  if (order == OfferOrder::kPrice) return {cents, finish, switches, segments};
  if (order == OfferOrder::kSwitches) return {switches, finish, cents, segments};
  return {finish, cents, switches, segments};
}

class Ranking {
 public:
  Ranking(const std::vector<Offer>& offers, OfferOrder order) : offers_(offers), order_(order) {
    for (const auto& offer : offers) {
      all_.add(offer);
      (offer.is_split() ? splits_ : blocks_).add(offer);
      fewest_segments_ = std::min(fewest_segments_, offer.segments.size());
      if (!offer.is_split() && (first_block_ == nullptr || offer.finish() < first_block_->finish()))
        first_block_ = &offer;
    }
  }

  // The least is shown first.
  auto place(const Offer& offer) const {
    return std::tuple(offer.is_split(), order_ == OfferOrder::kFinish ? tier(offer) : 0, key(offer, order_));
  }

  std::string why(const Offer& offer) const {
    auto reasons = offer.is_split() ? why_split(offer) : why_block(offer);
    if (reasons.empty())
      reasons.emplace_back(useful(offer) ? "between the others in time and price" : "a later start");
    return fmt::format("{}", fmt::join(reasons, ", "));
  }

 private:
  // 0: the best in something, 1: a compromise, 2: worse than another one.
  int tier(const Offer& offer) const {
    if ((offer.is_split() ? splits_ : blocks_).is_best(offer) && useful(offer)) return 0;
    return useful(offer) ? 1 : 2;
  }

  // Not worse than another one in anything, nor the same.
  bool useful(const Offer& offer) const {
    const auto measures = [](const Offer& one) {
      return std::tuple(one.finish(), one.price.cents, one.switches(), one.segments.size());
    };
    return std::none_of(offers_.begin(), offers_.end(), [&](const Offer& other) {
      return measures(offer) != measures(other) && other.finish() <= offer.finish() &&
             other.price.cents <= offer.price.cents && other.switches() <= offer.switches() &&
             other.segments.size() <= offer.segments.size();
    });
  }

  // A split may still be better.
  std::vector<std::string> why_block(const Offer& offer) const {
    std::vector<std::string> why;
    const auto mark = [&](const char* text, bool of_all, bool of_blocks) {
      if (of_blocks) why.push_back(fmt::format("{}{}", text, of_all ? "" : " in one block"));
    };
    mark("ends first", all_.ends_first(offer), blocks_.ends_first(offer));
    mark("cheapest", all_.is_cheapest(offer), blocks_.is_cheapest(offer));
    mark("fewest switches", all_.has_fewest_switches(offer), blocks_.has_fewest_switches(offer));
    return why;
  }

  // What it is better in than the first block; where there is none, than the other splits.
  std::vector<std::string> why_split(const Offer& offer) const {
    std::vector<std::string> why{fmt::format("in {} segments", offer.segments.size())};
    if (first_block_ != nullptr && offer.finish() < first_block_->finish()) {
      why.push_back(fmt::format("ends {} before the first block",
                                format_duration(first_block_->finish() - offer.finish())));
    } else if (all_.ends_first(offer)) {
      why.emplace_back("ends first");
    } else if (first_block_ == nullptr && offer.segments.size() == fewest_segments_) {
      why.emplace_back("the fewest");
    }
    if (all_.is_cheapest(offer)) why.emplace_back("cheapest");
    if (all_.has_fewest_switches(offer)) why.emplace_back("fewest switches");
    return why;
  }

  const std::vector<Offer>& offers_;
  OfferOrder order_;
  Bests all_, blocks_, splits_;
  std::size_t fewest_segments_ = std::numeric_limits<std::size_t>::max();
  const Offer* first_block_ = nullptr;  // to end
};

// Of offers in their order.
void keep(std::vector<Offer>& offers, std::size_t most) {
  const auto first_split =
      std::find_if(offers.begin(), offers.end(), [](const Offer& offer) { return offer.is_split(); });
  const auto blocks = static_cast<std::size_t>(first_split - offers.begin());
  const auto splits = offers.size() - blocks;
  const auto kept_splits = std::min(splits, std::max(most / 2, most - std::min(most, blocks)));
  const auto kept_blocks = std::min(blocks, most - kept_splits);
  offers.resize(blocks + kept_splits);
  offers.erase(offers.begin() + static_cast<std::ptrdiff_t>(kept_blocks),
               offers.begin() + static_cast<std::ptrdiff_t>(blocks));
}

}  // namespace

void rank(std::vector<Offer>& offers, OfferOrder order, std::size_t most) {
  const Ranking ranking(offers, order);
  using Place = decltype(ranking.place(offers.front()));
  std::vector<std::pair<Place, std::size_t>> places;
  for (std::size_t i = 0; i < offers.size(); ++i) places.emplace_back(ranking.place(offers[i]), i);
  std::sort(places.begin(), places.end());
  std::vector<Offer> ranked;
  for (const auto& [place, i] : places) {
    ranked.push_back(offers[i]);
    ranked.back().why = ranking.why(offers[i]);
  }
  keep(ranked, most);
  offers = std::move(ranked);
}

}  // namespace stint::reservations
