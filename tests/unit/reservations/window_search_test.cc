// SPDX-License-Identifier: Apache-2.0
#include "reservations/window_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace stint::reservations {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

using Schedule = std::vector<MinuteSpan>;

TEST(WindowSearch, CountsNodesThatAreFreeInEachMinute) {
  const WindowSearch search({{0, 2}, {1, 9}, {3, 3}, {7, 8}}, 4);
  EXPECT_THAT(search.free_counts(), ElementsAre(1, 2, 1, 1));
}

TEST(WindowSearch, ReachIsWhereTheLastOfEnoughNodesIsTaken) {
  const WindowSearch search({{0, 3}, {1, 5}, {2, 6}}, 8);
  EXPECT_THAT(search.reach(1), ElementsAre(3, 5, 6, 6, 6, 6, 0, 0));
  EXPECT_THAT(search.reach(2), ElementsAre(0, 3, 5, 5, 5, 0, 0, 0));
  EXPECT_THAT(search.reach(4), ElementsAre(0, 0, 0, 0, 0, 0, 0, 0));
}

TEST(WindowSearch, NodesThatTakeTurnsAreNoBlock) {
  const WindowSearch search({{0, 5}, {5, 10}}, 10);
  EXPECT_EQ(search.widest(10)->nodes, 0U);
  EXPECT_EQ(search.widest(5)->nodes, 1U);
  EXPECT_THAT(earliest_schedules(search.reach(1), 10, 1, 1), IsEmpty());
  EXPECT_THAT(earliest_schedules(search.reach(1), 10, 2, 1), ElementsAre(Schedule{{0, 5}, {5, 10}}));
}

TEST(WindowSearch, OneBlockComesBeforeSplitsThatEndEarlier) {
  const WindowSearch search({{0, 4}, {6, 9}, {20, 40}}, 40);
  EXPECT_THAT(earliest_schedules(search.reach(1), 6, 3, 2),
              ElementsAre(Schedule{{20, 26}}, Schedule{{0, 4}, {6, 8}}));
}

TEST(WindowSearch, BlocksShrinkUntilNoneIsTooShort) {
  // 4 + 4 minutes are there, 7 are wanted, none below 4 would do; with 3 the first begins a minute later.
  const WindowSearch search({{0, 4}, {6, 10}}, 10);
  EXPECT_THAT(earliest_schedules(search.reach(1), 7, 2, 4), IsEmpty());
  EXPECT_THAT(earliest_schedules(search.reach(1), 7, 2, 3), ElementsAre(Schedule{{0, 4}, {6, 9}}));
  EXPECT_THAT(earliest_schedules(search.reach(1), 8, 2, 4), ElementsAre(Schedule{{0, 4}, {6, 10}}));
}

TEST(WindowSearch, NoTimeAtAllIsNoError) {
  const WindowSearch search({}, 0);
  EXPECT_THAT(search.free_counts(), IsEmpty());
  EXPECT_THAT(search.reach(1), IsEmpty());
  EXPECT_EQ(search.widest(1), std::nullopt);
  EXPECT_EQ(longest_block(search.reach(1)), MinuteSpan{});
  EXPECT_THAT(earliest_schedules(search.reach(1), 1, 2, 1), IsEmpty());
}

// A cluster small enough to try everything: one bit a node and minute.
struct Model {
  static constexpr int kNodes = 5;
  Minute horizon = 0;
  std::vector<std::array<bool, kNodes>> free;
  std::vector<MinuteSpan> spans;

  Model(std::mt19937& random, Minute minutes) : horizon(minutes), free(minutes) {
    for (int node = 0; node < kNodes; ++node) {
      const unsigned busy = random() % 3;
      for (Minute t = 0; t < horizon; ++t) free[t][static_cast<std::size_t>(node)] = random() % 4 >= busy;
      for (Minute t = 0; t < horizon; ++t) {
        if (!free[t][static_cast<std::size_t>(node)]) continue;
        const Minute begin = t;
        while (t < horizon && free[t][static_cast<std::size_t>(node)]) ++t;
        spans.push_back({begin, t});
      }
    }
  }

  std::size_t free_through(Minute begin, Minute end) const {
    std::size_t count = 0;
    for (std::size_t node = 0; node < kNodes; ++node) {
      bool all = true;
      for (Minute t = begin; t < end; ++t) all = all && free[t][node];
      count += all ? 1 : 0;
    }
    return count;
  }

  // Whether exactly `blocks` blocks of at least `min_block` within [from, until) can last `length` together.
  bool possible(std::size_t nodes, Minute from, Minute until, Minute length, std::size_t blocks,
                Minute min_block) const {
    if (blocks == 0) return length == 0;
    for (Minute begin = from; begin + min_block <= until; ++begin) {
      for (Minute end = begin + min_block; end <= until && end - begin <= length; ++end) {
        if (free_through(begin, end) < nodes) break;
        if (possible(nodes, end, until, length - (end - begin), blocks - 1, min_block)) return true;
      }
    }
    return false;
  }
};

class AgainstBruteForce : public testing::Test {
 protected:
  std::mt19937 random_{20'261'124};
  Minute below(Minute n) { return static_cast<Minute>(random_() % n); }
};

TEST_F(AgainstBruteForce, ReachCountsAndWidestAgree) {
  for (int round = 0; round < 3'000; ++round) {
    const Model model(random_, 1 + below(14));
    const WindowSearch search(model.spans, model.horizon);
    const std::size_t nodes = 1 + below(Model::kNodes);
    const auto reach = search.reach(nodes);
    const auto counts = search.free_counts();
    for (Minute s = 0; s < model.horizon; ++s) {
      Minute expected = 0;
      for (Minute e = s + 1; e <= model.horizon && model.free_through(s, e) >= nodes; ++e) expected = e;
      ASSERT_EQ(reach[s], expected) << "round " << round << " minute " << s;
      ASSERT_EQ(counts[s], model.free_through(s, s + 1));
    }
    const Minute length = 1 + below(model.horizon);
    const auto widest = search.widest(length);
    std::size_t most = 0;
    for (Minute s = 0; s + length <= model.horizon; ++s)
      most = std::max(most, model.free_through(s, s + length));
    ASSERT_TRUE(widest.has_value());
    ASSERT_EQ(widest->nodes, most);
    ASSERT_EQ(model.free_through(widest->begin, widest->begin + length), most);
  }
}

TEST_F(AgainstBruteForce, SchedulesAreValidAndNoneEndsEarlier) {
  int splits = 0;
  for (int round = 0; round < 8'000; ++round) {
    const Model model(random_, 2 + below(11));
    const WindowSearch search(model.spans, model.horizon);
    const std::size_t nodes = 1 + below(3);
    const Minute min_block = 1 + below(3);
    const Minute length = min_block + below(8);
    const std::size_t max_blocks = 1 + below(3);
    const auto schedules = earliest_schedules(search.reach(nodes), length, max_blocks, min_block);
    std::size_t next = 0;
    Minute earliest = model.horizon + 1;
    for (std::size_t blocks = 1; blocks <= max_blocks; ++blocks) {
      Minute end = 0;
      while (end < earliest && !model.possible(nodes, 0, end, length, blocks, min_block)) ++end;
      if (end >= earliest) continue;
      earliest = end;
      ASSERT_LT(next, schedules.size())
          << "round " << round << ": " << blocks << " blocks can end at " << end;
      const auto& schedule = schedules[next++];
      ASSERT_EQ(schedule.size(), blocks);
      ASSERT_EQ(schedule.back().end, end);
      Minute total = 0;
      Minute from = 0;
      for (const auto& block : schedule) {
        ASSERT_GE(block.begin, from);
        ASSERT_GE(block.length(), min_block);
        ASSERT_GE(model.free_through(block.begin, block.end), nodes);
        total += block.length();
        from = block.end;
      }
      ASSERT_EQ(total, length);
      splits += blocks > 1 ? 1 : 0;
    }
    ASSERT_EQ(next, schedules.size()) << "round " << round;
  }
  EXPECT_GT(splits, 300);  // the cases are worth trying
}

TEST_F(AgainstBruteForce, StartsAndLongestBlockAgree) {
  for (int round = 0; round < 1'000; ++round) {
    const Model model(random_, 1 + below(14));
    const std::size_t nodes = 1 + below(3);
    const auto reach = WindowSearch(model.spans, model.horizon).reach(nodes);
    const Minute length = 1 + below(6);
    std::vector<bool> starts(model.horizon, false);
    for (const auto& run : feasible_starts(reach, length)) {
      for (Minute s = run.begin; s < run.end; ++s) starts[s] = true;
    }
    Minute longest = 0;
    for (Minute s = 0; s < model.horizon; ++s) {
      ASSERT_EQ(starts[s], s + length <= model.horizon && model.free_through(s, s + length) >= nodes);
      for (Minute e = s + 1; e <= model.horizon && model.free_through(s, e) >= nodes; ++e)
        longest = std::max(longest, e - s);
    }
    ASSERT_EQ(longest_block(reach).length(), longest);
  }
}

}  // namespace
}  // namespace stint::reservations
