// SPDX-License-Identifier: Apache-2.0
#include "reservations/offers.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "reservations/counted.h"
#include "reservations/offer_ranking.h"

namespace stint::reservations {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr std::size_t kStarts = 48;          // looked at closely
constexpr std::size_t kPricedDays = 10'000;  // at most: each costs a microsecond or two
constexpr std::size_t kLeastPricedDays = 5;
constexpr Minute kMinutesOfDay = 24 * 60;
constexpr std::size_t kMostSegments = 32;  // that anybody may ask for
constexpr seconds kMaxHorizon = std::chrono::days{3660};

Minute whole_minutes(seconds time) {
  return static_cast<Minute>((std::clamp(time, seconds{}, kMaxHorizon).count() + 59) / 60);
}

class OfferSearch {
 public:
  OfferSearch(const Planner& planner, const Tariff& tariff, const OfferQuery& query)
      : planner_(planner),
        tariff_(tariff),
        query_(query),
        count_(query.nodes + query.spares),
        length_(std::max<Minute>(1, whole_minutes(query.duration))),
        origin_(std::chrono::ceil<minutes>(query.after)),
        horizon_(whole_minutes(std::chrono::floor<minutes>(query.before) - origin_)),
        search_(planner.free_times(origin_, horizon_), horizon_),
        reach_(search_.reach(count_)) {}

  OfferAnswer answer() {
    for (const Minute start : interesting_starts()) add({{start, start + length_}});
    const Minute shortest = std::max<Minute>(1, whole_minutes(query_.min_segment));
    for (const auto& blocks : earliest_schedules(reach_, length_, query_.max_segments, shortest)) {
      if (blocks.size() > 1) add(blocks);
    }
    OfferAnswer answer;
    if (found_.empty()) {
      explain_no_time(answer);
      return answer;
    }
    drop_too_dear(answer);
    rank(found_, query_.order, query_.most);
    for (auto& offer : found_) {
      for (auto& segment : offer.segments) segment.nodes = planner_.choose(count_, segment.window);
    }
    answer.offers = std::move(found_);
    return answer;
  }

 private:
  sys_seconds time_of(Minute minute) const { return origin_ + minutes{minute}; }

  // Some of all starts, and the cheapest.
  std::vector<Minute> interesting_starts() const {
    const auto starts = possible_starts();
    auto some = thinned(starts, kStarts);
    const auto cheap = cheapest_starts(starts);
    some.insert(some.end(), cheap.begin(), cheap.end());
    std::sort(some.begin(), some.end());
    some.erase(std::unique(some.begin(), some.end()), some.end());
    return some;
  }

  // The first start of each run in which one block fits, then whole hours.
  std::vector<Minute> possible_starts() const {
    std::vector<Minute> starts;
    for (const auto& run : feasible_starts(reach_, length_)) {
      starts.push_back(run.begin);
      const auto next_hour =
          std::chrono::floor<std::chrono::hours>(time_of(run.begin)) + std::chrono::hours{1};
      for (auto hour = next_hour; hour < time_of(run.end); hour += std::chrono::hours{1})
        starts.push_back(static_cast<Minute>((hour - origin_) / minutes{1}));
    }
    return starts;
  }

  static std::vector<Minute> thinned(const std::vector<Minute>& starts, std::size_t most) {
    if (starts.size() <= most) return starts;
    std::vector<Minute> some;
    for (std::size_t i = 0; i < most; ++i) some.push_back(starts[i * starts.size() / most]);
    return some;
  }

  // As a function of its start, the price of a block is a line between these: so one of them is the cheapest.
  // Tariffs repeat by the week: where these are very many, the later ones are left out.
  std::vector<Minute> turning_points() const {
    std::vector<Minute> edges;
    for (const auto edge : query_.price_edges) {
      const auto minute = std::chrono::ceil<minutes>(edge - origin_).count();
      for (const auto start : {minute, minute - static_cast<std::int64_t>(length_)}) {
        if (start >= 0 && start < static_cast<std::int64_t>(horizon_))
          edges.push_back(static_cast<Minute>(start));
      }
    }
    std::sort(edges.begin(), edges.end());
    std::vector<Minute> points;
    auto edge = edges.begin();
    for (const auto& run : feasible_starts(reach_, length_)) {
      points.push_back(run.begin);
      edge = std::lower_bound(edge, edges.end(), run.begin);
      for (; edge != edges.end() && *edge < run.end; ++edge) points.push_back(*edge);
      points.push_back(run.end - 1);
    }
    points.erase(std::unique(points.begin(), points.end()), points.end());
    const auto days = std::max<std::size_t>(kLeastPricedDays, length_ / kMinutesOfDay);
    if (const auto most = kPricedDays / days; points.size() > most) points.resize(most);
    return points;
  }

  // As many as are wanted, the earliest of equals; the first that the price limit allows too. None where all
  // cost the same.
  std::vector<Minute> cheapest_starts(const std::vector<Minute>& starts) const {
    if (query_.price_edges.empty()) return {};
    auto points = turning_points();
    const auto some = thinned(starts, points.size());
    points.insert(points.end(), some.begin(), some.end());
    std::sort(points.begin(), points.end());
    points.erase(std::unique(points.begin(), points.end()), points.end());
    std::vector<std::pair<std::int64_t, Minute>> priced;
    std::vector<Minute> chosen;
    for (const auto start : points) {
      const auto cents = tariff_(query_.nodes, {{time_of(start), time_of(start + length_)}}).cents;
      priced.emplace_back(cents, start);
      if (query_.max_cents && cents <= *query_.max_cents && chosen.size() < query_.most)
        chosen.push_back(start);
    }
    const auto wanted = std::min(query_.most, priced.size());
    std::partial_sort(priced.begin(), priced.begin() + static_cast<std::ptrdiff_t>(wanted), priced.end());
    for (std::size_t i = 0; i < wanted; ++i) chosen.push_back(priced[i].second);
    return chosen;
  }

  void add(const std::vector<MinuteSpan>& blocks) {
    Offer offer;
    std::vector<Window> windows;
    for (const auto& block : blocks) {
      OfferSegment segment;
      segment.window = {time_of(block.begin), time_of(block.end)};
      segment.switches = planner_.fewest_switches(count_, segment.window);
      windows.push_back(segment.window);
      offer.segments.push_back(std::move(segment));
    }
    offer.price = tariff_(query_.nodes, windows);
    found_.push_back(std::move(offer));
  }

  void drop_too_dear(OfferAnswer& answer) {
    if (!query_.max_cents) return;
    const auto cheapest = std::min_element(found_.begin(), found_.end(), [](const Offer& a, const Offer& b) {
      return a.price.cents < b.price.cents;
    });
    const Price price = cheapest->price;
    std::erase_if(found_, [&](const Offer& offer) { return offer.price.cents > *query_.max_cents; });
    if (!found_.empty()) return;
    answer.reason = fmt::format("the cheapest offer costs {} {}", price.amount(), price.currency);
    answer.remedy = fmt::format("--max-price {}, or take fewer nodes or less time", price.amount());
  }

  std::string nodes_text() const {
    const std::string nodes = counted(count_, "node");
    return query_.spares == 0
               ? nodes
               : fmt::format("{} ({} and {})", nodes, query_.nodes, counted(query_.spares, "spare"));
  }
  const char* are() const { return count_ == 1 ? "is" : "are"; }

  // The most that could be had for so long; empty: nothing.
  std::string widest_text() const {
    const auto widest = search_.widest(length_);
    if (!widest || widest->nodes == 0) return {};
    return fmt::format("{} {} free for the whole time from {}", counted(widest->nodes, "node"),
                       widest->nodes == 1 ? "is" : "are", format_time(time_of(widest->begin)));
  }

  // From the coarsest limit to the finest.
  void explain_no_time(OfferAnswer& answer) const {
    std::vector<std::string> remedies;
    if (!query_.shortage.empty()) {
      answer.short_of_nodes = true;
      answer.reason = fmt::format("{} {} wanted; {}", nodes_text(), are(), query_.shortage);
      remedies = {query_.elsewhere, widest_text()};
    } else if (length_ > horizon_) {
      answer.reason = fmt::format("{} do not fit between {} and {}", format_duration(minutes{length_}),
                                  format_time(origin_), format_time(time_of(horizon_)));
      remedies = {later_text()};
      if (remedies.front().empty()) remedies.front() = "take less time";
    } else {
      answer.reason = busy_text();
      remedies = {widest_text(), later_text(), split_text()};
    }
    std::erase(remedies, "");
    if (remedies.empty()) remedies.emplace_back(less_time_text());
    answer.remedy = fmt::format("{}", fmt::join(remedies, "; "));
  }

  std::string busy_text() const {
    const MinuteSpan longest = longest_block(reach_);
    if (longest.length() == 0) {
      return fmt::format("{} {} never free at once before {}", nodes_text(), are(),
                         format_time(time_of(horizon_)));
    }
    return fmt::format("{} {} free for {} at most, from {}; {} are wanted", nodes_text(), are(),
                       format_duration(minutes{longest.length()}), format_time(time_of(longest.begin)),
                       format_duration(minutes{length_}));
  }

  std::string less_time_text() const {
    const MinuteSpan longest = longest_block(reach_);
    if (longest.length() == 0) return "'stint plan availability' shows what is free";
    return fmt::format("take {} from {}", format_duration(minutes{longest.length()}),
                       format_time(time_of(longest.begin)));
  }

  // Empty: no end that the caller can ask for is late enough.
  std::string later_text() const {
    if (query_.later_end.empty()) return {};
    const auto start = first_start_after_limit();
    if (!start) return {};
    const auto end = format_time(*start + minutes{length_});
    return fmt::format("all of it fits from {} to {}: {}", format_time(*start), end,
                       fmt::format(fmt::runtime(query_.later_end), end));
  }

  // The fewest segments that would do without any other change.
  std::string split_text() const {
    if (query_.split.empty()) return {};
    const Minute shortest = std::max<Minute>(1, whole_minutes(query_.min_segment));
    const auto segments = fewest_blocks(reach_, length_, kMostSegments, shortest);
    return segments ? fmt::format(fmt::runtime(query_.split), *segments) : std::string{};
  }

  // Without the caller's --before: twice as far, at least four weeks more, as far as it may be.
  std::optional<sys_seconds> first_start_after_limit() const {
    constexpr Minute kMore = 4 * 7 * 24 * 60;
    Minute far = std::max({horizon_ * 2, horizon_ + kMore, length_ + kMore});
    if (query_.latest != sys_seconds{})
      far = std::min(far, whole_minutes(std::chrono::floor<minutes>(query_.latest) - origin_));
    const auto reach = WindowSearch(planner_.free_times(origin_, far), far).reach(count_);
    const auto runs = feasible_starts(reach, length_);
    if (runs.empty()) return std::nullopt;
    return time_of(runs.front().begin);
  }

  const Planner& planner_;
  const Tariff& tariff_;
  const OfferQuery& query_;
  std::size_t count_;
  Minute length_;
  sys_seconds origin_;
  Minute horizon_;
  WindowSearch search_;
  std::vector<Minute> reach_;
  std::vector<Offer> found_;
};

}  // namespace

std::size_t Offer::switches() const {
  std::size_t most = 0;
  for (const auto& segment : segments) most = std::max(most, segment.switches);
  return most;
}

OfferAnswer find_offers(const Planner& planner, const Tariff& tariff, const OfferQuery& query) {
  return OfferSearch(planner, tariff, query).answer();
}

}  // namespace stint::reservations
