// SPDX-License-Identifier: Apache-2.0
#include "trainer/model/arena.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace stint::model {
namespace {

TEST(Arena, PiecesDoNotOverlapAndStandOnLines) {
  Arena arena;
  float *a = nullptr, *b = nullptr;
  void* c = nullptr;
  arena.ask(a, 3, 7);
  arena.ask(b, 1);
  arena.ask(c, 5, 5, 2);
  EXPECT_EQ(arena.wanted(), 128U + 64U + 64U);
  ASSERT_TRUE(arena.allocate());
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a) % 64, 0U);
  EXPECT_EQ(b, a + 32);
  EXPECT_EQ(c, b + 16);
  a[20] = b[0] = 1;
  EXPECT_EQ(arena.wanted(), 0U);
}

TEST(Arena, SmallerSetLiesInTheSameBlock) {
  Arena arena;
  double* first = nullptr;
  double* second = nullptr;
  arena.ask(first, 1000);
  ASSERT_TRUE(arena.allocate());
  arena.ask(second, 10);
  ASSERT_TRUE(arena.allocate());
  EXPECT_EQ(first, second);
}

TEST(Arena, MoreThanThereIsIsRefusedAndTheNextIsServed) {
  Arena arena;
  float* piece = nullptr;
  arena.ask(piece, std::int64_t{1} << 40, 1 << 4);
  EXPECT_EQ(arena.wanted(), std::size_t{1} << 46);
  EXPECT_FALSE(arena.allocate());
  arena.ask(piece, 4);
  EXPECT_TRUE(arena.allocate());
}

TEST(Arena, SizesThatOverflowAreSeen) {
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  Arena arena;
  float *a = nullptr, *b = nullptr;
  arena.ask(a, kMost, kMost);
  arena.ask(b, 100);
  EXPECT_GT(arena.wanted(), static_cast<std::size_t>(PTRDIFF_MAX));
  EXPECT_FALSE(arena.allocate());
}

}  // namespace
}  // namespace stint::model
