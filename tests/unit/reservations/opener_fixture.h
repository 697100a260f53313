// SPDX-License-Identifier: Apache-2.0
// A plan that is opened on a cluster in memory: a tick is a second of stintd and of the nodes.
#pragma once

#include <nlohmann/json.hpp>
#include <set>

#include "reservations/opener.h"
#include "tests/unit/reservations/book_fixture.h"

namespace stint::reservations {

inline constexpr char kPrep[] = "demo.0.prep";
inline constexpr std::chrono::seconds kCheckLimit{20};
inline constexpr double kCheckTakes = 3;

class OpenerTest : public BookTest {
 public:
  OpenerTest() { restart(); }
  void TestBody() override {}

  void restart() {
    restart_stintd();
    opener_ = std::make_unique<Opener>(cluster_, ledger_, metrics_,
                                       OpenerSettings{{before, kCheckLimit}, "#!/bin/sh\ntrue\n"},
                                       [this] { return cluster_.now; });
  }
  // Three nodes and a spare.
  void book(std::chrono::seconds ahead, int nodes = 3, int spares = 1) {
    auto wanted = request("demo", nodes, spares);
    wanted.start = now() + ahead;
    book_->create(wanted, kRoot);
  }
  // A second of a stintd's life, and of the nodes.
  void tick() {
    cluster_.now += 1;
    for (auto& [id, job] : cluster_.jobs_) {
      const auto node = node_of_check(job.name);
      if (job.state != JobState::kRunning || node.empty() || hanging.contains(node)) continue;
      if (now() - job.started >= std::chrono::seconds{static_cast<std::int64_t>(kCheckTakes)})
        cluster_.end_node_job(id, bad.contains(node) ? 1 : 0);
    }
    opener_->tend_once();
    book_->reconcile();
  }
  void ticks(int count) {
    for (int i = 0; i < count; ++i) tick();
  }
  bool reserved() const { return cluster_.reservations_.contains(kPrep); }
  std::vector<std::string> prepared() { return cluster_.reservations_.at(kPrep).nodes; }
  std::vector<std::string> nodes() { return book_->show("demo").segments[0].nodes; }
  long drained() const {
    return std::count_if(cluster_.nodes_.begin(), cluster_.nodes_.end(),
                         [](const ClusterNode& node) { return node.drained; });
  }
  int live_checks() {
    int count = 0;
    for (const auto& job : cluster_.jobs()) count += node_of_check(job.name).empty() ? 0 : 1;
    return count;
  }
  std::vector<std::string> checked() {
    std::vector<std::string> nodes;
    for (const auto& [id, job] : cluster_.jobs_) {
      if (!node_of_check(job.name).empty()) nodes.push_back(node_of_check(job.name));
    }
    return nodes;
  }
  // Lines of the history with this action.
  std::vector<std::string> lines(const std::string& action) {
    std::vector<std::string> found;
    for (const auto& entry : book_->history("demo")) {
      if (entry.action == action) found.push_back(entry.detail);
    }
    return found;
  }
  std::string shown() {
    const auto json = opener_->describe(book_->show("demo"));
    return json.is_null() ? "" : json.at("text").get<std::string>();
  }
  void add_stranger(const std::string& node, std::uint32_t id = 50) {
    cluster_.add_job(id, {node}, "", "").end = now() + std::chrono::seconds{86'400};
    cluster_.find_node(node).idle = false;
  }
  FakeCluster& cluster() { return cluster_; }
  Ledger& ledger() { return ledger_; }
  Book& book_of_plans() { return *book_; }

  std::set<std::string> bad, hanging;
  std::chrono::seconds before{600};

 protected:
  std::unique_ptr<Opener> opener_;
};

}  // namespace stint::reservations
