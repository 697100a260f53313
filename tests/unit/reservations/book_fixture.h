// SPDX-License-Identifier: Apache-2.0
// A book of plans on a cluster in memory, whose clock the test turns.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "base/ini.h"
#include "reservations/book.h"
#include "reservations/refusal.h"
#include "tests/unit/reservations/fake_cluster.h"
#include "tests/unit/reservations/scratch.h"

namespace stint::reservations {

inline constexpr std::uint32_t kRoot = 0;
inline constexpr std::uint32_t kStranger = 3'999'999'999U;

class BookTest : public testing::Test {
 protected:
  BookTest() : cluster_(8, scratch_.path()), ledger_(scratch_.file("ledger.db")) {
    cluster_.now = 1'000'000;
    settings_.money.prices.node_hour = Rate::parse("2.50");
    restart_stintd();
  }

  void restart_stintd() {
    book_ = std::make_unique<Book>(
        cluster_, ledger_, metrics_, settings_, [this] { return cluster_.now; },
        [this](std::chrono::milliseconds pause) {
          cluster_.now += static_cast<double>(pause.count()) / 1000;
        });
  }
  std::chrono::sys_seconds now() const {
    return std::chrono::sys_seconds{std::chrono::seconds{static_cast<std::int64_t>(cluster_.now)}};
  }
  static PlanRequest request(const std::string& name = "demo", int nodes = 4, int spares = 1) {
    PlanRequest wanted;
    wanted.name = name;
    wanted.nodes = nodes;
    wanted.spares = spares;
    wanted.duration = std::chrono::seconds{600};
    return wanted;
  }
  PlanTable table() {
    const std::string path = scratch_.file("stint_plans.ini");
    return PlanTable::parse(read_file(path, 1 << 20), path);
  }
  // status and text of what create() refuses
  std::pair<int, std::string> refused(const PlanRequest& wanted, std::uint32_t uid = kRoot) {
    try {
      book_->create(wanted, uid);
    } catch (const Refusal& refusal) {
      return {refusal.status(), refusal.what()};
    }
    return {200, "booked"};
  }
  int cancel_status(const std::string& name, std::uint32_t uid, bool force) {
    try {
      book_->cancel(name, uid, force);
    } catch (const Refusal& refusal) {
      return refusal.status();
    }
    return 200;
  }

  // What it is refused with, and as what; 200 and nothing where it is not.
  template <typename Work>
  static std::string refusal(const Work& work) {
    try {
      work();
    } catch (const Refusal& refusal) {
      return refusal.what();
    }
    return {};
  }
  template <typename Work>
  static int status(const Work& work) {
    try {
      work();
    } catch (const Refusal& refusal) {
      return refusal.status();
    }
    return 200;
  }

  Scratch scratch_;
  FakeCluster cluster_;
  Ledger ledger_;
  Metrics metrics_;
  Settings settings_;
  std::unique_ptr<Book> book_;
};

}  // namespace stint::reservations
