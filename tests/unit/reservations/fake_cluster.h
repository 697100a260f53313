// SPDX-License-Identifier: Apache-2.0
// A cluster in memory, with Slurm's manners where they matter: a reservation's nodes may not be reserved
// twice, a reservation in use is not deleted, a node set DOWN requeues its jobs with a long hold.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "reservations/cluster.h"
#include "reservations/kill_point.h"

namespace stint::reservations {

class FakeCluster : public Cluster {
 public:
  using Code = ClusterError::Code;
  static constexpr std::uint32_t kSlurmUid = 64'030;
  // The caller was killed: nothing that it does itself catches this.
  struct Killed {};

  // node1 … nodeN on leaf switches of four, in the partition main.
  explicit FakeCluster(int nodes, std::string state = {}) : state_(std::move(state)) {
    for (int i = 1; i <= nodes; ++i) {
      ClusterNode node;
      node.name = "node" + std::to_string(i);
      node.address = "127.0.0.1";
      node.port = static_cast<std::uint16_t>(17'000 + i);
      node.partitions = {"main"};
      node.idle = true;
      nodes_.push_back(node);
      topology_.places.push_back({node.name, {"spine", "leaf" + std::to_string((i - 1) / 4 + 1)}});
    }
  }

  ClusterFacts facts() override {
    return call("facts"),
           ClusterFacts{state_, kSlurmUid, "slurm", private_data, private_data || private_jobs, booted};
  }
  std::vector<ClusterNode> nodes() override { return call("nodes"), nodes_; }
  std::vector<ClusterPartition> partitions() override {
    return {{"main",
             true,
             max_time,
             max_nodes,
             min_nodes,
             partition_up,
             groups,
             {},
             partition_accounts,
             {},
             allowed_qos,
             denied_qos},
            {"night"}};
  }
  ClusterTopology topology() override { return topology_; }
  std::vector<ClusterJob> jobs() override {
    call("jobs");
    std::vector<ClusterJob> live;
    for (const auto& [id, job] : jobs_) {
      if (job.state != JobState::kFinished) live.push_back(job);
    }
    return live;
  }
  std::vector<ClusterJob> ended_jobs() override {
    std::vector<ClusterJob> ended;
    for (const auto& [id, job] : jobs_) {
      if (job.state == JobState::kFinished) ended.push_back(job);
    }
    return ended;
  }
  std::optional<ClusterJob> job(std::uint32_t id) override {
    call("job");
    const auto found = jobs_.find(id);
    return found == jobs_.end() ? std::nullopt : std::optional(found->second);
  }
  std::vector<ClusterReservation> reservations() override {
    call("reservations");
    std::vector<ClusterReservation> all;
    for (const auto& [name, reservation] : reservations_) all.push_back(reservation);
    return all;
  }
  bool is_operator(std::uint32_t uid) override { return uid == 0 || uid == kSlurmUid; }
  std::vector<std::string> accounts_of(std::uint32_t uid) override {
    return accounts_.contains(uid) ? accounts_[uid] : std::vector<std::string>{};
  }
  std::vector<std::string> coordinated_by(std::uint32_t uid) override {
    return coordinators_.contains(uid) ? coordinators_[uid] : std::vector<std::string>{};
  }
  std::optional<Members> members_of(const std::vector<std::string>& accounts) override {
    if (!members_) return std::nullopt;
    Members found;
    for (const auto& account : accounts) {
      if (members_->contains(account)) found[account] = (*members_)[account];
    }
    return found;
  }
  WallLimits wall_limits(const std::vector<std::string>&) override { return walls_; }

  void create_reservation(const ClusterReservation& wanted) override {
    call("create");
    if (reservations_.contains(wanted.name)) throw ClusterError(Code::kExists, "exists");
    refuse_overlap(wanted);
    reservations_[wanted.name] = wanted;
    if (after_create) after_create();
    kill_point("slurm.create_reservation");
  }
  void update_reservation(const ClusterReservation& from, const ClusterReservation& to) override {
    call("update");
    if (!reservations_.contains(from.name)) throw ClusterError(Code::kMissing, "no such reservation");
    if (refuses_updates) throw ClusterError(Code::kRefused, "not that");
    refuse_overlap(to);
    for (const auto& job : jobs()) {
      for (const auto& node : job.nodes) {
        const bool leaves = job.reservation == to.name && !has(to.nodes, node);
        const bool reaches_in = job.reservation != to.name && has(to.nodes, node) && to.start > time() &&
                                job.end.value_or(to.start) > to.start;
        if (leaves || reaches_in) throw ClusterError(Code::kBusy, "nodes busy");
      }
    }
    reservations_[to.name] = to;
    if (after_update) after_update();
    kill_point("slurm.update_reservation");
  }
  void delete_reservation(const std::string& name) override {
    call("delete");
    if (!reservations_.contains(name)) throw ClusterError(Code::kMissing, "no such reservation");
    if (before_delete) before_delete();
    for (const auto& job : jobs()) {
      if (job.reservation == name) throw ClusterError(Code::kBusy, "in use");
    }
    reservations_.erase(name);
    kill_point("slurm.delete_reservation");
  }

  void set_node_down(const std::string& name, const std::string& reason) override {
    call("down");
    auto& node = find_node(name);
    node.down = node.drained = true;
    node.idle = false;
    node.reason = reason;
    for (auto& [id, job] : jobs_) {
      if (job.state == JobState::kRunning && has(job.nodes, name)) requeue(job);
    }
    kill_point("slurm.set_node_down");
  }
  void drain_node(const std::string& name, const std::string& reason) override {
    call("drain");
    find_node(name).drained = true;
    find_node(name).reason = reason;
    kill_point("slurm.drain_node");
  }
  void power_up_node(const std::string& name) override {
    call("power up");
    find_node(name).asleep = false;
    find_node(name).waking = true;
    kill_point("slurm.power_up_node");
  }
  std::uint32_t submit_node_job(const NodeJob& wanted) override {
    call("submit");
    if (refuses_node_jobs) throw ClusterError(Code::kRefused, "Invalid account");
    if (!reservations_.contains(wanted.reservation))
      throw ClusterError(Code::kMissing, "no such reservation");
    const std::uint32_t id = next_job++;
    auto& job = add_job(id, {wanted.node}, wanted.reservation, "");
    job.uid = kSlurmUid;
    job.requeue = false;
    job.name = wanted.name;
    job.time_limit = wanted.time_limit;
    job.started = std::chrono::sys_seconds{std::chrono::seconds{static_cast<std::int64_t>(now)}};
    job.end = job.started + wanted.time_limit;
    find_node(wanted.node).idle = false;
    kill_point("slurm.submit_node_job");
    return id;
  }
  // The script of a node's job ends by itself.
  void end_node_job(std::uint32_t id, int status) {
    auto& job = jobs_.at(id);
    job.state = JobState::kFinished;
    job.exit_status = status;
    set_idle(job.nodes);
  }
  void requeue_job(std::uint32_t id) override {
    call("requeue");
    if (refuses_requeue) throw ClusterError(Code::kRefused, "not now");
    requeue(jobs_.at(id));
    kill_point("slurm.requeue_job");
  }
  void requeue_job_held(std::uint32_t id) override {
    call("requeue held");
    requeue(jobs_.at(id));
    jobs_.at(id).held = true;
    kill_point("slurm.requeue_job_held");
  }
  void tell_job(std::uint32_t id, const std::string& line) override {
    call("tell");
    told[id] = line;
    kill_point("slurm.tell_job");
  }
  void cancel_job(std::uint32_t id) override {
    call("cancel");
    if (cancels_work) {
      jobs_.at(id).state = JobState::kFinished;
      set_idle(jobs_.at(id).nodes);
    }
    kill_point("slurm.cancel_job");
  }
  void set_job_excluded_nodes(std::uint32_t id, const std::vector<std::string>& nodes) override {
    call("exclude");
    if (updates_to_lose-- > 0) return;
    jobs_.at(id).excluded_nodes = nodes;
    kill_point("slurm.set_job_excluded_nodes");
  }
  void set_job_begin(std::uint32_t id, std::chrono::sys_seconds begin) override {
    call("begin");
    if (updates_to_lose-- > 0) return;
    jobs_.at(id).begin = begin;
    kill_point("slurm.set_job_begin");
  }

  void place_job(std::uint32_t id, const std::string& reservation, std::chrono::minutes limit) override {
    call("place");
    if (!reservations_.contains(reservation)) throw ClusterError(Code::kMissing, "no such reservation");
    jobs_.at(id).reservation = reservation;
    jobs_.at(id).time_limit = limit;
    kill_point("slurm.place_job");
  }
  void hold_job(std::uint32_t id) override {
    call("hold");
    jobs_.at(id).held = true;
    kill_point("slurm.hold_job");
  }
  void release_job(std::uint32_t id) override {
    call("release");
    jobs_.at(id).held = jobs_.at(id).held_without_plan = false;
    kill_point("slurm.release_job");
  }
  void set_job_reservation(std::uint32_t id, const std::string& reservation) override {
    call("move");
    if (!reservations_.contains(reservation)) throw ClusterError(Code::kMissing, "no such reservation");
    jobs_.at(id).reservation = reservation;
    kill_point("slurm.set_job_reservation");
  }
  void set_job_end(std::uint32_t id, std::chrono::sys_seconds end) override {
    call("end");
    jobs_.at(id).end = end;
    kill_point("slurm.set_job_end");
  }
  void set_job_admin_comment(std::uint32_t id, const std::string& text) override {
    call("comment");
    jobs_.at(id).admin_comment = text;
    kill_point("slurm.set_job_admin_comment");
  }
  void warn_job(std::uint32_t id) override {
    call("warn");
    ++warnings[id];
    kill_point("slurm.warn_job");
  }

  void requeue(ClusterJob& job) {
    job.state = JobState::kCompleting;
    ++job.restart;
    job.queued = std::chrono::sys_seconds{std::chrono::seconds{static_cast<std::int64_t>(now)}};
    job.begin = job.queued + std::chrono::seconds{121};
    job.begin_time_hold = true;
    job.nodes.clear();
  }
  // What the scheduler does between two looks.
  void schedule(const std::vector<std::string>& nodes) {
    for (auto& [id, job] : jobs_) {
      const auto time = std::chrono::sys_seconds{std::chrono::seconds{static_cast<std::int64_t>(now)}};
      if (job.state == JobState::kCompleting) {
        job.state = JobState::kPending;
      } else if (job.state == JobState::kPending && job.begin <= time) {
        job.state = JobState::kRunning;
        job.begin_time_hold = false;
        job.nodes = nodes;
        started_after = time - job.queued;
      }
    }
  }

  ClusterJob& add_job(std::uint32_t id, const std::vector<std::string>& nodes, const std::string& reservation,
                      const std::string& tag = "stint plan=demo") {
    ClusterJob job;
    job.id = id;
    job.uid = 1000;
    job.state = JobState::kRunning;
    job.requeue = true;
    job.batch = true;
    job.nodes = nodes;
    job.partition = "main";
    job.reservation = reservation;
    job.admin_comment = tag;
    return jobs_[id] = job;
  }
  ClusterNode& find_node(const std::string& name) {
    return *std::find_if(nodes_.begin(), nodes_.end(), [&](const auto& node) { return node.name == name; });
  }
  static bool has(const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  }

  std::map<std::string, ClusterReservation> reservations_;
  std::map<std::uint32_t, ClusterJob> jobs_;
  std::vector<ClusterNode> nodes_;
  std::map<std::uint32_t, std::vector<std::string>> accounts_;
  std::map<std::uint32_t, std::vector<std::string>> coordinators_;
  std::optional<Members> members_;  // none: no slurmdbd
  WallLimits walls_;
  std::vector<std::string> calls;
  std::function<void()> after_create;
  std::function<void()> after_update;
  std::function<void()> before_delete;
  double now = 0;
  int dies_after = 0;  // the so manyth call from now throws Killed; 0: none
  bool private_data = false;
  bool private_jobs = false;
  bool away = false;  // every call fails as without a controller
  bool cancels_work = true;
  bool refuses_requeue = false;
  std::chrono::sys_seconds booted{};
  std::function<void(const std::string&)> on_call;  // before each call takes effect
  bool refuses_updates = false;                     // of reservations
  bool refuses_node_jobs = false;
  std::uint32_t next_job = 900;
  std::optional<std::chrono::minutes> max_time;  // of the partition main, as the next three
  std::optional<std::uint32_t> max_nodes;
  std::uint32_t min_nodes = 0;
  std::vector<std::string> partition_accounts;
  std::vector<std::string> allowed_qos, denied_qos;
  bool partition_up = true;
  std::vector<std::string> groups;
  std::map<std::uint32_t, int> warnings;      // sent to each job
  std::map<std::uint32_t, std::string> told;  // its last line
  int updates_to_lose = 0;                    // job updates that are accepted and have no effect
  std::chrono::seconds started_after{};

 private:
  std::chrono::sys_seconds time() const {
    return std::chrono::sys_seconds{std::chrono::seconds{static_cast<std::int64_t>(now)}};
  }
  void set_idle(const std::vector<std::string>& names) {
    for (auto& node : nodes_) {
      if (has(names, node.name) && !node.down) node.idle = true;
    }
  }
  void refuse_overlap(const ClusterReservation& wanted) const {
    for (const auto& [name, other] : reservations_) {
      const bool overlap = name != wanted.name && wanted.start < other.end && other.start < wanted.end;
      for (const auto& node : wanted.nodes) {
        if (overlap && has(other.nodes, node)) throw ClusterError(Code::kBusy, "overlap");
      }
    }
  }
  void call(const std::string& name) {
    if (dies_after > 0 && dies_after-- == 1) throw Killed();
    calls.push_back(name);
    if (on_call) on_call(name);
    if (away) throw ClusterError(Code::kUnreachable, "slurmctld: Unable to contact slurm controller");
  }

  std::string state_;
  ClusterTopology topology_;
};

}  // namespace stint::reservations
