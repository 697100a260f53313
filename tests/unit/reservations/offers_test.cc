// SPDX-License-Identifier: Apache-2.0
#include "reservations/offers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "base/text.h"
#include "reservations/local_time.h"
#include "reservations/tariff.h"

namespace stint::reservations {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr sys_seconds kNow{seconds{1'700'000'000 / 3600 * 3600}};  // a full hour

Window hours_from_now(int from, int to) {
  return {kNow + hours{from}, kNow + hours{to}};
}

// Two leaf switches of four nodes.
Planner planner() {
  std::vector<PlannerNode> nodes;
  for (int i = 0; i < 8; ++i) nodes.push_back({"n" + std::to_string(i), {"core", i < 4 ? "a" : "b"}});
  return Planner(nodes);
}

Price flat(std::size_t nodes, const std::vector<Window>& windows) {
  return price_of(Rate::parse("2"), "EUR", static_cast<int>(nodes),
                  Purchase{{}, nodes, windows, {}}.duration());
}

OfferQuery query(std::size_t nodes, int duration) {
  OfferQuery query;
  query.nodes = nodes;
  query.duration = hours{duration};
  query.after = kNow;
  query.before = kNow + hours{48};
  query.min_segment = hours{1};
  return query;
}

TEST(Offers, AFreeClusterIsOfferedAtOnceOnOneSwitch) {
  auto wanted = query(3, 2);
  wanted.spares = 1;
  const auto answer = find_offers(planner(), flat, wanted);
  ASSERT_THAT(answer.offers, SizeIs(5));
  const auto& best = answer.offers.front();
  ASSERT_THAT(best.segments, SizeIs(1));
  EXPECT_EQ(best.segments[0].window.start, kNow);
  EXPECT_EQ(best.finish(), kNow + hours{2});
  EXPECT_THAT(best.segments[0].nodes, ElementsAre("n0", "n1", "n2", "n3"));
  EXPECT_EQ(best.switches(), 1U);
  EXPECT_EQ(best.price.amount(), "12.00");  // spares are free
  EXPECT_EQ(best.why, "ends first");
  EXPECT_EQ(answer.offers[1].why, "a later start");
}

TEST(Offers, BeginOnWholeMinutesNotBeforeTheWishedTime) {
  auto wanted = query(1, 1);
  wanted.after = kNow + seconds{61};
  EXPECT_EQ(find_offers(planner(), flat, wanted).offers.front().segments[0].window.start, kNow + minutes{2});
}

TEST(Offers, FewerSwitchesMayBeWorthAWait) {
  auto busy = planner();
  busy.add_span({"n0", "n4"}, hours_from_now(0, 10));
  auto wanted = query(4, 2);
  const auto by_time = find_offers(busy, flat, wanted).offers;
  EXPECT_EQ(by_time[0].switches(), 2U);
  EXPECT_EQ(by_time[0].why, "ends first");
  EXPECT_EQ(by_time[1].switches(), 1U);
  EXPECT_EQ(by_time[1].why, "fewest switches");
  EXPECT_EQ(by_time[1].segments[0].window.start, kNow + hours{10});
  wanted.order = OfferOrder::kSwitches;
  EXPECT_EQ(find_offers(busy, flat, wanted).offers[0].switches(), 1U);
}

TEST(Offers, CheapHoursAreFoundAndRankedFirstByPrice) {
  const Tariff night = [](std::size_t nodes, const std::vector<Window>& windows) {
    const bool cheap = windows.front().start >= kNow + hours{20};
    return price_of(Rate::parse(cheap ? "1" : "2"), "EUR", static_cast<int>(nodes),
                    Purchase{{}, nodes, windows, {}}.duration());
  };
  auto wanted = query(2, 1);
  wanted.order = OfferOrder::kPrice;
  const auto offers = find_offers(planner(), night, wanted).offers;
  EXPECT_EQ(offers[0].segments[0].window.start, kNow + hours{20});
  EXPECT_EQ(offers[0].why, "cheapest");
  EXPECT_TRUE(std::is_sorted(offers.begin(), offers.end(), [](const Offer& a, const Offer& b) {
    return std::tuple(a.price.cents, a.finish()) < std::tuple(b.price.cents, b.finish());
  }));
  wanted.order = OfferOrder::kFinish;
  EXPECT_EQ(find_offers(planner(), night, wanted).offers[1].why, "cheapest");
}

// Eight weeks have more starts than can be looked at.
TEST(Offers, TheCheapestBlockOfWeeksBeginsOrEndsWithARule) {
  for (const auto& [from, to, expected] :
       {std::tuple(20 * 60, 6 * 60, 20 * 60), std::tuple(20 * 60 + 17, 20 * 60 + 47, 19 * 60 + 47)}) {
    PriceRules rules;
    rules.node_hour = Rate::parse("2.5");
    PriceRule night;
    night.name = "night";
    night.hours = DayHours{minutes{from}, minutes{to}};
    night.percent = -30;
    rules.rules = {night};
    const Tariff tariff = [&](std::size_t nodes, const std::vector<Window>& windows) {
      return rules.price({{}, nodes, windows, kNow});
    };
    auto wanted = query(8, 1);
    wanted.after = start_of_day(kNow) + hours{12};
    wanted.before = wanted.after + std::chrono::weeks{8};
    wanted.price_edges = rules.changes({}, {wanted.after, wanted.before});
    wanted.order = OfferOrder::kPrice;
    const auto best = find_offers(planner(), tariff, wanted).offers.front();
    EXPECT_EQ(local_time(best.segments[0].window.start).of_day, minutes{expected}) << from;
    EXPECT_LT(best.segments[0].window.start, wanted.after + hours{12});
    wanted.max_cents = best.price.cents - 1;
    EXPECT_EQ(find_offers(planner(), tariff, wanted).reason,
              "the cheapest offer costs " + best.price.amount() + " EUR");
  }
}

// Of 8 hours on all nodes: two splits end before the first block, which begins in 20 hours.
Planner busy_for_blocks() {
  auto busy = planner();
  busy.add_span({"n0"}, hours_from_now(5, 7));
  busy.add_span({"n1"}, hours_from_now(9, 11));
  busy.add_span({"n2"}, hours_from_now(14, 20));
  return busy;
}

std::vector<std::size_t> segment_counts(const std::vector<Offer>& offers) {
  std::vector<std::size_t> counts;
  for (const auto& offer : offers) counts.push_back(offer.segments.size());
  return counts;
}

TEST(Offers, OneBlockComesFirstThenTheSplitsThatEndEarlier) {
  auto busy = planner();
  busy.add_span({"n0", "n1", "n2", "n3", "n4"}, hours_from_now(6, 20));
  auto wanted = query(8, 8);
  const auto blocks = find_offers(busy, flat, wanted).offers;
  EXPECT_EQ(blocks[0].segments[0].window.start, kNow + hours{20});
  EXPECT_EQ(blocks[0].why, "ends first");
  wanted.max_segments = 3;
  const auto offers = find_offers(busy, flat, wanted).offers;
  EXPECT_THAT(segment_counts(offers), ElementsAre(1, 1, 1, 1, 2));
  EXPECT_EQ(offers[0].segments[0].window.start, kNow + hours{20});
  EXPECT_EQ(offers[0].why, "ends first in one block");
  const auto& split = offers.back();
  EXPECT_EQ(split.segments[0].window.end, kNow + hours{6});
  EXPECT_EQ(split.segments[1].window.start, kNow + hours{20});
  EXPECT_EQ(split.finish(), kNow + hours{22});
  EXPECT_EQ(split.price.amount(), "128.00");
  EXPECT_EQ(split.why, "in 2 segments, ends 06:00:00 before the first block");
}

TEST(Offers, BlocksAndSplitsLeaveRoomForEachOther) {
  auto wanted = query(8, 8);
  wanted.max_segments = 4;
  EXPECT_THAT(segment_counts(find_offers(busy_for_blocks(), flat, wanted).offers),
              ElementsAre(1, 1, 1, 3, 2));
  wanted.most = 2;
  EXPECT_THAT(segment_counts(find_offers(busy_for_blocks(), flat, wanted).offers), ElementsAre(1, 3));
  wanted.most = 1;
  EXPECT_THAT(segment_counts(find_offers(busy_for_blocks(), flat, wanted).offers), ElementsAre(1));
  wanted.most = 5;
  wanted.before = kNow + hours{28};
  EXPECT_THAT(segment_counts(find_offers(busy_for_blocks(), flat, wanted).offers), ElementsAre(1, 3, 2));
}

TEST(Offers, EveryOrderHasTheBlocksFirst) {
  const Tariff rising = [](std::size_t nodes, const std::vector<Window>& windows) {
    auto price = flat(nodes, windows);
    price.cents += (windows.back().end - kNow) / hours{1};
    return price;
  };
  auto wanted = query(8, 8);
  wanted.max_segments = 4;
  for (const auto order : {OfferOrder::kFinish, OfferOrder::kPrice, OfferOrder::kSwitches}) {
    wanted.order = order;
    const auto offers = find_offers(busy_for_blocks(), rising, wanted).offers;
    EXPECT_THAT(segment_counts(offers), ElementsAre(1, 1, 1, 3, 2));
    EXPECT_EQ(offers[0].why, "ends first in one block, cheapest in one block");
    EXPECT_EQ(offers[3].why, "in 3 segments, ends 16:00:00 before the first block, cheapest");
  }
}

TEST(Offers, SplitsAloneSayWhatTheyAreBetterInThanEachOther) {
  auto wanted = query(8, 8);
  wanted.before = kNow + hours{20};
  wanted.max_segments = 4;
  const auto offers = find_offers(busy_for_blocks(), flat, wanted).offers;
  ASSERT_THAT(segment_counts(offers), ElementsAre(3, 2));
  EXPECT_EQ(offers[0].why, "in 3 segments, ends first");
  EXPECT_EQ(offers[1].why, "in 2 segments, the fewest");
}

// More compromises between time and price than there is room for.
TEST(Offers, TheCheapestIsNotPushedOutByCompromises) {
  const Tariff falling = [](std::size_t nodes, const std::vector<Window>& windows) {
    auto price = flat(nodes, windows);
    price.cents -= std::min<std::int64_t>(20, (windows.back().end - kNow) / hours{1});
    return price;
  };
  const auto offers = find_offers(planner(), falling, query(2, 1)).offers;
  EXPECT_EQ(offers[0].why, "ends first");
  EXPECT_EQ(offers[1].why, "cheapest");
  EXPECT_EQ(offers[1].finish(), kNow + hours{20});
  EXPECT_EQ(offers[2].why, "between the others in time and price");
}

TEST(Offers, TooManyNodesAreSaidToBeTooMany) {
  auto wanted = query(8, 1);
  wanted.spares = 1;
  wanted.shortage = "there are 8";
  const auto answer = find_offers(planner(), flat, wanted);
  EXPECT_THAT(answer.offers, IsEmpty());
  EXPECT_EQ(answer.reason, "9 nodes (8 and 1 spare) are wanted; there are 8");
  EXPECT_THAT(answer.remedy, HasSubstr("8 nodes are free for the whole time from "));
  EXPECT_TRUE(answer.short_of_nodes);
  wanted.elsewhere = "look elsewhere";
  EXPECT_THAT(find_offers(planner(), flat, wanted).remedy, HasSubstr("look elsewhere; 8 nodes are free"));
}

TEST(Offers, ATimeThatIsTooLongNamesTheNearestThings) {
  auto busy = planner();
  busy.add_span({"n0", "n1"}, hours_from_now(6, 60));
  const auto answer = find_offers(busy, flat, query(8, 12));
  EXPECT_THAT(answer.offers, IsEmpty());
  EXPECT_THAT(answer.reason, HasSubstr("8 nodes are free for 06:00:00 at most, from "));
  EXPECT_THAT(answer.reason, HasSubstr("; 12:00:00 are wanted"));
  EXPECT_THAT(answer.remedy, HasSubstr("6 nodes are free for the whole time from "));
  EXPECT_THAT(answer.remedy, HasSubstr("all of it fits from "));
  EXPECT_THAT(answer.remedy, HasSubstr(": give --before 20"));
}

TEST(Offers, WhatIsNeverFreeForSoLongIsOfferedForLess) {
  auto busy = planner();
  busy.add_span(busy.available_during(hours_from_now(0, 1)), {kNow + hours{3}, kNow + hours{9'000}});
  auto wanted = query(8, 4);
  wanted.later_end.clear();
  wanted.split.clear();
  EXPECT_EQ(find_offers(busy, flat, wanted).remedy, "take 03:00:00 from " + format_time(kNow));
  busy.add_span({"n0"}, hours_from_now(0, 3));
  EXPECT_EQ(find_offers(busy, flat, wanted).remedy, "'stint plan availability' shows what is free");
}

TEST(Offers, TheFewestSegmentsThatWouldDoAreNamed) {
  auto busy = planner();
  busy.add_span({"n0"}, hours_from_now(5, 6));
  busy.add_span({"n1"}, hours_from_now(8, 9));
  auto wanted = query(8, 9);
  wanted.before = kNow + hours{12};
  EXPECT_THAT(find_offers(busy, flat, wanted).remedy, HasSubstr("--segments 3 splits it"));
  wanted.max_segments = 3;
  EXPECT_THAT(find_offers(busy, flat, wanted).offers, SizeIs(1));
}

TEST(Offers, ADeadlineBeforeTheEndIsNamed) {
  auto wanted = query(1, 3);
  wanted.before = kNow + hours{2};
  EXPECT_THAT(find_offers(planner(), flat, wanted).reason, HasSubstr("do not fit between"));
  EXPECT_THAT(find_offers(planner(), flat, wanted).remedy, HasSubstr(": give --before 20"));
  wanted.latest = wanted.before;
  EXPECT_THAT(find_offers(planner(), flat, wanted).remedy, HasSubstr("take less time"));
  wanted.before = kNow - hours{2};
  EXPECT_THAT(find_offers(planner(), flat, wanted).reason, HasSubstr("do not fit between"));
}

TEST(Offers, APriceThatNobodyOffersIsAnsweredWithTheCheapest) {
  auto wanted = query(2, 1);
  wanted.max_cents = 399;
  const auto answer = find_offers(planner(), flat, wanted);
  EXPECT_THAT(answer.offers, IsEmpty());
  EXPECT_EQ(answer.reason, "the cheapest offer costs 4.00 EUR");
  wanted.max_cents = 400;
  EXPECT_THAT(find_offers(planner(), flat, wanted).offers, SizeIs(5));
}

}  // namespace
}  // namespace stint::reservations
