// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "trainer/engine/tracer.h"

namespace stint::engine {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

TEST(Tracer, RecordsNothingWhileItIsOff) {
  Tracer tracer;
  { const Span span(tracer, {"step"}); }
  tracer.begin_phase("forward", 0);
  tracer.start();
  EXPECT_THAT(tracer.stop(), IsEmpty());
}

TEST(Tracer, ASpanThatBeganBeforeOrEndsAfterIsLeftOut) {
  Tracer tracer;
  std::optional<Span> early(std::in_place, tracer, Tracer::Event{"early"});
  tracer.start();
  early.reset();
  std::optional<Span> late(std::in_place, tracer, Tracer::Event{"late"});
  { const Span span(tracer, {"whole"}); }
  const auto events = tracer.stop();
  late.reset();
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_STREQ(events[0].name, "whole");
  EXPECT_LE(events[0].begin, events[0].end);
  tracer.start();
  EXPECT_THAT(tracer.stop(), IsEmpty());
}

TEST(Tracer, PhasesFollowEachOther) {
  Tracer tracer;
  tracer.start();
  tracer.begin_phase("forward", 0);
  tracer.begin_phase("forward", 1);
  EXPECT_TRUE(tracer.in_phase_of(1));
  tracer.end_phase();
  EXPECT_FALSE(tracer.in_phase_of(1));
  const auto events = tracer.stop();
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_EQ(events[0].unit, 0);
  EXPECT_EQ(events[1].unit, 1);
  EXPECT_LE(events[0].end, events[1].begin);
}

TEST(Tracer, CollectivesAreCountedWhileItIsOffToo) {
  Tracer tracer;
  { const auto span = Span::collective(tracer, "all_reduce", 0, 8); }
  tracer.start();
  { const auto span = Span::collective(tracer, "all_reduce", 1, 16); }
  const auto events = tracer.stop();
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].sequence, 1);
  EXPECT_EQ(events[0].bytes, 16);
}

// Rank 0's moments, and another clock that is 1000 ahead: the bound must hold whatever the delays.
TEST(ClockOffset, LiesWithinItsErrorWhoeverIsLate) {
  constexpr double kAhead = 1000;
  const std::vector<Window> first{{0, 50}, {60, 72}, {80, 130}};
  const std::vector<Window> own{{1010, 1055}, {1065, 1071}, {1110, 1128}};
  const auto offset = clock_offset(own, first);
  EXPECT_NEAR(offset.nanoseconds, kAhead, offset.error);
  EXPECT_LE(offset.error, (1071 - 60 - (1065 - 72)) / 2.0) << "no worse than the tightest barrier";
  const auto same = clock_offset(first, first);
  EXPECT_NEAR(same.nanoseconds, 0, same.error);
}

TEST(TracePart, HasTimesOfRankZerosClockAndNamesTheUnits) {
  const auto at = [](int us) { return Tracer::Clock::time_point(std::chrono::microseconds(us)); };
  Tracer::Event forward{"forward"};
  forward.unit = 1;
  forward.begin = at(1010);
  forward.end = at(1025);
  const Tracer::Event reduce{"all_reduce", Tracer::Row::kCommunicate, 0, 7, 4096, at(1030), at(1032)};
  const Tracer::Event data{"data",  Tracer::Row::kCompute, Tracer::kNone, Tracer::kNone, 0, at(1001),
                           at(1002)};
  TraceFacts facts;
  facts.rank = 3;
  facts.first_step = 41;
  facts.steps = 2;
  facts.offset = {2500, 300};
  facts.zero = at(1000);
  facts.units = {"embedding", "layer 0"};
  const auto part = trace_part(facts, {forward, reduce, data});
  EXPECT_EQ(part.at("rank"), 3);
  EXPECT_EQ(part.at("first_step"), 41);
  EXPECT_EQ(part.at("clock_offset_us"), 2.5);
  EXPECT_EQ(part.at("clock_error_us"), 0.3);
  const auto& events = part.at("events");
  ASSERT_EQ(events.size(), 3);
  EXPECT_EQ(events[0].at("name"), "forward layer 0");
  EXPECT_EQ(events[0].at("ts"), 10);
  EXPECT_EQ(events[0].at("dur"), 15);
  EXPECT_EQ(events[0].at("tid"), 0);
  EXPECT_EQ(events[1].at("name"), "all_reduce embedding");
  EXPECT_EQ(events[1].at("tid"), 1);
  EXPECT_EQ(events[1].at("args"), (nlohmann::json{{"sequence", 7}, {"bytes", 4096}}));
  EXPECT_EQ(events[2].at("name"), "data");
}

}  // namespace
}  // namespace stint::engine
