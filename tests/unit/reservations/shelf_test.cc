// SPDX-License-Identifier: Apache-2.0
#include "reservations/shelf.h"

#include <gtest/gtest.h>

namespace stint::reservations {
namespace {

constexpr std::chrono::sys_seconds kNow{std::chrono::seconds{1'000'000}};
constexpr std::uint32_t kAlice = 1000, kBob = 1001;

using Numbers = Shelf<int>;

bool has(const Numbers& shelf, const std::string& id) {
  try {
    shelf.find(id, kNow);
    return true;
  } catch (const Refusal&) {
    return false;
  }
}

TEST(Shelf, OneUsersManyOffersDriveOutOnlyThatUsersOldest) {
  Numbers shelf("search");
  const auto bobs = shelf.put(0, kNow, kBob);
  const auto first = shelf.put(1, kNow, kAlice);
  const auto second = shelf.put(2, kNow, kAlice);
  for (std::size_t i = 2; i <= Numbers::kMostOfOne; ++i) shelf.put(3, kNow, kAlice);
  EXPECT_FALSE(has(shelf, first));
  EXPECT_TRUE(has(shelf, second));
  EXPECT_TRUE(has(shelf, bobs));
}

TEST(Shelf, ManyUsersDriveOutTheOldestOfAll) {
  Numbers shelf("search");
  const auto oldest = shelf.put(0, kNow, 0);
  std::string newest;
  for (std::uint32_t uid = 1; uid <= Numbers::kMost; ++uid) newest = shelf.put(1, kNow, uid);
  EXPECT_FALSE(has(shelf, oldest));
  EXPECT_TRUE(has(shelf, newest));
}

}  // namespace
}  // namespace stint::reservations
