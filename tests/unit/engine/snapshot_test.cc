// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/snapshot.h"

#include <gtest/gtest.h>

#include <numeric>
#include <thread>

namespace stint::engine {
namespace {

constexpr std::size_t kTile = 100, kTiles = 40;

struct Fixture {
  std::vector<float> memory = std::vector<float>(kTile * kTiles);
  const std::vector<float> before;

  Fixture() : before(first_values(memory)) {}
  static std::vector<float> first_values(std::vector<float>& memory) {
    std::iota(memory.begin(), memory.end(), 0.0F);
    return memory;
  }
  std::span<float> tile(std::size_t i) { return std::span(memory).subspan(i * kTile, kTile); }
  std::vector<Snapshot::Part> parts() {
    std::vector<Snapshot::Part> all;
    for (std::size_t i = 0; i < kTiles; ++i) all.push_back(tile(i));
    return all;
  }
  static void overwrite(Snapshot& snapshot, std::span<float> values) {
    snapshot.keep(values);
    std::ranges::fill(values, -1.0F);
  }
  std::vector<float> read_all(Snapshot& snapshot) {
    std::vector<float> result;
    for (std::size_t i = 0; i < kTiles; ++i) {
      const auto values = snapshot.read(tile(i));
      result.insert(result.end(), values.begin(), values.end());
    }
    return result;
  }
};

TEST(Snapshot, HoldsWhatWasThereWhoeverComesFirst) {
  Fixture f;
  Snapshot snapshot(f.parts(), f.memory.size());
  std::vector<float> read;
  for (std::size_t i = 0; i < kTiles; ++i) {
    if (i % 2 == 0) Fixture::overwrite(snapshot, f.tile(i));
    const auto values = snapshot.read(f.tile(i));
    read.insert(read.end(), values.begin(), values.end());
    if (i % 2 == 1) Fixture::overwrite(snapshot, f.tile(i));
  }
  EXPECT_EQ(read, f.before);
}

TEST(Snapshot, RangesThatCrossItsPartsAreKeptWhole) {
  Fixture f;
  Snapshot snapshot(f.parts(), f.memory.size());
  Fixture::overwrite(snapshot, std::span(f.memory).subspan(kTile / 2, 3 * kTile));
  Fixture::overwrite(snapshot, std::span(f.memory).subspan(0, kTile / 2));
  EXPECT_EQ(f.read_all(snapshot), f.before);
}

TEST(Snapshot, WhatIsNotPartOfItIsNobodysBusiness) {
  Fixture f;
  Snapshot snapshot({f.tile(3)}, 0);
  Fixture::overwrite(snapshot, f.tile(2));
  Fixture::overwrite(snapshot, f.tile(4));
  const auto values = snapshot.read(f.tile(3));
  EXPECT_TRUE(std::equal(values.begin(), values.end(), f.before.begin() + 3 * kTile));
}

TEST(Snapshot, WritersWithoutRoomWaitForTheReader) {
  for (const std::size_t room : {std::size_t{0}, 7 * kTile}) {
    Fixture f;
    Snapshot snapshot(f.parts(), room);
    std::vector<std::jthread> writers;
    for (std::size_t writer = 0; writer < 4; ++writer)
      writers.emplace_back([&, writer] {
        for (std::size_t i = writer; i < kTiles; i += 4) Fixture::overwrite(snapshot, f.tile(i));
      });
    EXPECT_EQ(f.read_all(snapshot), f.before);
  }
}

TEST(Snapshot, WithoutMemoryForCopiesWritersWaitForTheReader) {
  Fixture f;
  Snapshot snapshot(f.parts(), std::size_t{1} << 50);
  std::jthread writer([&] { Fixture::overwrite(snapshot, f.memory); });
  EXPECT_EQ(f.read_all(snapshot), f.before);
}

TEST(Snapshot, NobodyWaitsForAReaderThatGaveUp) {
  Fixture f;
  Snapshot snapshot(f.parts(), 0);
  std::jthread writer([&] { Fixture::overwrite(snapshot, f.memory); });
  (void)snapshot.read(f.tile(0));
  snapshot.close();
  writer.join();
  EXPECT_EQ(f.memory.back(), -1.0F);
}

}  // namespace
}  // namespace stint::engine
