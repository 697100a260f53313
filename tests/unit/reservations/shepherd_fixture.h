// SPDX-License-Identifier: Apache-2.0
// A plan, a job of it on a cluster in memory, and the shepherd that leads it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "reservations/shepherd.h"
#include "tests/unit/reservations/fake_cluster.h"
#include "tests/unit/reservations/scratch.h"

namespace stint::reservations {

inline constexpr std::uint32_t kJob = 7;
inline constexpr std::uint32_t kUser = 1000;

inline std::chrono::sys_seconds at(int second) {
  return std::chrono::sys_seconds{std::chrono::seconds{second}};
}

// The plan sft on node1 and node2: 1000 to 1600, and 3000 to 3600.
class ShepherdTest : public testing::Test {
 protected:
  ShepherdTest() : ledger_(scratch_.file("ledger.db")) {
    plan_.name = "sft";
    plan_.owner = "alice";
    plan_.owner_uid = kUser;
    plan_.users = {"alice"};
    plan_.uids = {kUser};
    plan_.kind.partition = "main";
    plan_.nodes = 2;
    cluster_.now = 1'010;
    book({{"sft.0", at(1'000), at(1'600), nodes_}, {"sft.1", at(3'000), at(3'600), nodes_}});
    restart_stintd();
  }

  void book(std::vector<Segment> segments) {
    plan_.segments = std::move(segments);
    plan_.id = ledger_.add_plan(plan_);
    plan_.phase = Phase::kBooked;
    ledger_.set_phase(plan_);
    for (const auto& s : plan_.segments)
      cluster_.reservations_[s.reservation] = {s.reservation, s.start, s.end, s.nodes, {"alice"}, "main"};
  }
  void restart_stintd() {
    shepherd_ =
        std::make_unique<Shepherd>(cluster_, ledger_, metrics_, settings_, [this] { return cluster_.now; });
  }
  void tend_at(double time) {
    cluster_.now = time;
    shepherd_->tend_once();
  }
  ClusterJob& job() { return cluster_.jobs_[kJob]; }
  ClusterJob& add_running(const std::string& tag = "stint plan=sft") {
    auto& job = cluster_.add_job(kJob, nodes_, "sft.0", tag);
    job.started = at(1'005);
    job.end = at(1'545);
    job.time_limit = std::chrono::minutes{9};
    return job;
  }
  ClusterJob& add_pending(const std::string& reservation = "sft.0",
                          const std::string& tag = "stint plan=sft") {
    auto& job = cluster_.add_job(kJob, {}, reservation, tag);
    job.state = JobState::kPending;
    job.time_limit = std::chrono::minutes{9};
    return job;
  }
  std::vector<std::string> event_names() {
    std::vector<std::string> names;
    for (const auto& event : ledger_.events(kJob)) names.push_back(event.event);
    return names;
  }
  int count(const std::string& call) {
    return static_cast<int>(std::count(cluster_.calls.begin(), cluster_.calls.end(), call));
  }
  int refusal_of_window(std::uint32_t id, std::uint32_t uid) {
    try {
      shepherd_->window(id, uid);
    } catch (const Refusal& refusal) {
      return refusal.status();
    }
    return 200;
  }

  std::vector<std::string> nodes_{"node1", "node2"};
  Scratch scratch_;
  FakeCluster cluster_{8};
  Ledger ledger_;
  Metrics metrics_;
  ShepherdSettings settings_;
  Plan plan_;
  std::unique_ptr<Shepherd> shepherd_;
};

}  // namespace stint::reservations
