// SPDX-License-Identifier: Apache-2.0
#include "reservations/slurm_cluster.h"

#include <fmt/format.h>
#include <signal.h>
#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>
#include <slurm/slurmdb.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <type_traits>

#include "reservations/kill_point.h"
#include "reservations/slurm_accounting.h"
#include "reservations/slurm_calls.h"
#include "reservations/slurm_records.h"
#include "reservations/users.h"

extern "C" slurm_conf_t slurm_conf;  // of libslurm, which <slurm/slurm.h> does not declare

namespace stint::reservations {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::sys_seconds;

// The highest priority that Slurm itself gives a job (scontrol top).
constexpr std::uint32_t kFirstInQueue = 0xffff0000;

using NodeMessage = Owned<node_info_msg_t, slurm_free_node_info_msg>;
using JobMessage = Owned<job_info_msg_t, slurm_free_job_info_msg>;
using ReservationMessage = Owned<reserve_info_msg_t, slurm_free_reservation_info_msg>;
using PartitionMessage = Owned<partition_info_msg_t, slurm_free_partition_info_msg>;
using TopologyMessage = Owned<topo_info_response_msg_t, slurm_free_topo_info_msg>;
using ConfMessage = Owned<slurm_conf_t, slurm_free_ctl_conf>;

// Of a call that changes something in Slurm.
void check_change(std::string_view point, int result, const std::string& what) {
  check(result, what);
  kill_point(point);
}

// Slurm's messages take char*, but do not write to it.
std::string joined(const std::vector<std::string>& names) {
  return fmt::format("{}", fmt::join(names, ","));
}

// In any order.
bool same_names(std::vector<std::string> a, std::vector<std::string> b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  return a == b;
}

// All GPUs of a node, as sbatch itself writes it ("gres/" from 23.11 on).
std::string gpus_per_node(int gpus) {
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(23, 11, 0)
  return fmt::format("gres/gpu:{}", gpus);
#else
  return fmt::format("gres:gpu:{}", gpus);
#endif
}

class SlurmCluster : public Cluster {
 public:
  SlurmCluster() { slurm_init(nullptr); }
  ~SlurmCluster() override = default;
  SlurmCluster(const SlurmCluster&) = delete;
  SlurmCluster& operator=(const SlurmCluster&) = delete;

  ClusterFacts facts() override {
    slurm_conf_t* loaded = nullptr;
    check(slurm_load_ctl_conf(0, &loaded), "slurmctld: configuration");
    const ConfMessage conf(loaded);
    const std::lock_guard lock(mutex_);
    accounting_in_slurmdbd_ = text_of(conf->accounting_storage_type) == "accounting_storage/slurmdbd";
    limits_are_enforced_ = accounting_in_slurmdbd_ && enforces_limits(conf->accounting_storage_enforce);
    slurm_uid_ = conf->slurm_user_id;
    return {text_of(conf->state_save_location),
            conf->slurm_user_id,
            text_of(conf->slurm_user_name),
            (conf->private_data & (PRIVATE_DATA_RESERVATIONS | PRIVATE_DATA_NODES)) != 0,
            (conf->private_data & PRIVATE_DATA_JOBS) != 0,
            sys_seconds{seconds{conf->boot_time}}};
  }

  std::vector<ClusterNode> nodes() override {
    node_info_msg_t* loaded = nullptr;
    check(slurm_load_node(0, &loaded, SHOW_ALL), "slurmctld: nodes");
    const NodeMessage message(loaded);
    const auto partitions = load_partitions();
    std::map<std::string, std::vector<std::string>> partitions_of;
    for (std::uint32_t i = 0; i < partitions->record_count; ++i) {
      const auto& partition = partitions->partition_array[i];
      for (const auto& node : hosts_of(partition.nodes))
        partitions_of[node].push_back(text_of(partition.name));
    }
    std::vector<ClusterNode> nodes;
    for (std::uint32_t i = 0; i < message->record_count; ++i) {
      const auto& info = message->node_array[i];
      if (info.name == nullptr) continue;  // an unused slot of the table
      nodes.push_back(to_node(info));
      nodes.back().partitions = partitions_of[nodes.back().name];
    }
    return nodes;
  }

  std::vector<ClusterPartition> partitions() override {
    const auto message = load_partitions();
    std::vector<ClusterPartition> partitions;
    for (std::uint32_t i = 0; i < message->record_count; ++i) {
      partitions.push_back(to_partition(message->partition_array[i]));
    }
    return partitions;
  }

  ClusterTopology topology() override {
    topo_info_response_msg_t* loaded = nullptr;
    check(slurm_load_topo(&loaded), "slurmctld: topology");
    const TopologyMessage message(loaded);
    return to_topology(*message);
  }

  std::vector<ClusterJob> jobs() override {
    const std::lock_guard lock(jobs_mutex_);
    job_info_msg_t* loaded = nullptr;
    const time_t known = jobs_message_ ? jobs_message_->last_update : 0;
    if (slurm_load_jobs(known, &loaded, SHOW_ALL | SHOW_DETAIL) == SLURM_SUCCESS) {
      jobs_message_.reset(loaded);
    } else if (errno != SLURM_NO_CHANGE_IN_DATA) {
      fail_slurm("slurmctld: jobs", errno);
    }
    std::vector<ClusterJob> jobs;
    for (std::uint32_t i = 0; i < jobs_message_->record_count; ++i) {
      const auto& info = jobs_message_->job_array[i];
      if (state_of(info.job_state) != JobState::kFinished) jobs.push_back(to_job(info));
    }
    return jobs;
  }

  std::vector<ClusterJob> ended_jobs() override {
    const std::lock_guard lock(jobs_mutex_);
    std::vector<ClusterJob> jobs;
    for (std::uint32_t i = 0; jobs_message_ && i < jobs_message_->record_count; ++i) {
      const auto& info = jobs_message_->job_array[i];
      const bool ended = state_of(info.job_state) == JobState::kFinished;
      if (ended && info.admin_comment != nullptr) jobs.push_back(to_job(info));
    }
    return jobs;
  }

  std::optional<ClusterJob> job(std::uint32_t id) override {
    job_info_msg_t* loaded = nullptr;
    if (slurm_load_job(&loaded, id, SHOW_ALL | SHOW_DETAIL) != SLURM_SUCCESS) {
      if (errno == ESLURM_INVALID_JOB_ID) return std::nullopt;
      fail_slurm(fmt::format("job {}", id), errno);
    }
    const JobMessage message(loaded);
    for (std::uint32_t i = 0; i < message->record_count; ++i) {
      if (message->job_array[i].job_id == id) return to_job(message->job_array[i]);
    }
    return std::nullopt;
  }

  std::vector<ClusterReservation> reservations() override {
    reserve_info_msg_t* loaded = nullptr;
    check(slurm_load_reservations(0, &loaded), "slurmctld: reservations");
    const ReservationMessage message(loaded);
    std::vector<ClusterReservation> reservations;
    for (std::uint32_t i = 0; i < message->record_count; ++i) {
      reservations.push_back(to_reservation(message->reservation_array[i]));
    }
    return reservations;
  }

  bool is_operator(std::uint32_t uid) override {
    if (uid == 0) return true;
    {
      const std::lock_guard lock(mutex_);
      if (slurm_uid_ == uid) return true;
    }
    return has_accounting() && accounting_user(uid).is_operator;
  }

  std::vector<std::string> accounts_of(std::uint32_t uid) override {
    return has_accounting() ? accounting_user(uid).accounts : std::vector<std::string>{};
  }

  std::vector<std::string> coordinated_by(std::uint32_t uid) override {
    return has_accounting() ? accounting_user(uid).coordinates : std::vector<std::string>{};
  }

  std::optional<Members> members_of(const std::vector<std::string>& accounts) override {
    if (!has_accounting()) return std::nullopt;
    return accounting_members(accounts);
  }

  WallLimits wall_limits(const std::vector<std::string>& users) override {
    {
      const std::lock_guard lock(mutex_);
      if (!limits_are_enforced_) return {};
    }
    return users.empty() ? WallLimits{} : accounting_limits(users);
  }

  void create_reservation(const ClusterReservation& wanted) override {
    resv_desc_msg_t message;
    slurm_init_resv_desc_msg(&message);
    std::string name = wanted.name;
    std::string nodes = joined(wanted.nodes);
    std::string users = joined(wanted.users);
    std::string partition = wanted.partition;
    message.name = name.data();
    message.start_time = wanted.start.time_since_epoch().count();
    message.end_time = wanted.end.time_since_epoch().count();
    message.node_list = nodes.data();
    message.users = users.data();
    if (!partition.empty()) message.partition = partition.data();
    if (wanted.overlap) message.flags = RESERVE_FLAG_OVERLAP;
    char* made = slurm_create_reservation(&message);
    if (made == nullptr) {
      const int number = errno;
      const auto who = number == ESLURM_INVALID_ACCOUNT ? without_account(wanted.users) : "";
      fail_slurm("reservation " + wanted.name + who, number);
    }
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(25, 11, 0)
    slurm_xfree(reinterpret_cast<void**>(&made));
#else
    free(made);
#endif
    kill_point("slurm.create_reservation");
    refuse_shortfall(wanted);
  }

  void update_reservation(const ClusterReservation& from, const ClusterReservation& to) override {
    resv_desc_msg_t message;
    slurm_init_resv_desc_msg(&message);
    std::string name = to.name;
    std::string nodes = joined(to.nodes);
    std::string users = joined(to.users);
    message.name = name.data();
    if (from.start != to.start) message.start_time = to.start.time_since_epoch().count();
    if (from.end != to.end) message.end_time = to.end.time_since_epoch().count();
    if (!same_names(from.nodes, to.nodes)) message.node_list = nodes.data();
    if (!same_names(from.users, to.users)) message.users = users.data();
    check_change("slurm.update_reservation", slurm_update_reservation(&message), "reservation " + to.name);
  }

  void delete_reservation(const std::string& name) override {
    std::string reservation = name;
    reservation_name_msg_t message{};
    message.name = reservation.data();
    check_change("slurm.delete_reservation", slurm_delete_reservation(&message), "reservation " + name);
  }

  void set_node_down(const std::string& node, const std::string& reason) override {
    set_node_state("slurm.set_node_down", node, NODE_STATE_DRAIN, reason);
    set_node_state("slurm.set_node_down", node, NODE_STATE_DOWN, reason);
  }

  void drain_node(const std::string& node, const std::string& reason) override {
    set_node_state("slurm.drain_node", node, NODE_STATE_DRAIN, reason);
  }

  void power_up_node(const std::string& node) override {
    set_node_state("slurm.power_up_node", node, NODE_STATE_POWER_UP, {});
  }

  std::uint32_t submit_node_job(const NodeJob& wanted) override {
    NodeJob job = wanted;
    std::string output = "/dev/null";
    std::string directory = "/";
    std::string gres = gpus_per_node(job.gpus);
    const char* own_path = std::getenv("PATH");
    std::string path = fmt::format("PATH={}", own_path == nullptr ? "/usr/bin:/bin" : own_path);
    std::array<char*, 2> environment{path.data(), nullptr};
    job_desc_msg_t message;
    slurm_init_job_desc_msg(&message);
    message.name = job.name.data();
    message.user_id = ::geteuid();
    message.group_id = ::getegid();
    message.script = job.script.data();
    message.work_dir = directory.data();
    message.std_out = message.std_err = output.data();
    message.environment = environment.data();
    message.env_size = 1;
    message.min_nodes = message.max_nodes = 1;
    message.req_nodes = job.node.data();
    if (job.gpus > 0) message.tres_per_node = gres.data();
    message.partition = job.partition.data();
    message.reservation = job.reservation.data();
    message.time_limit = static_cast<std::uint32_t>(job.time_limit.count());
    message.shared = JOB_SHARED_NONE;
    message.requeue = 0;
    message.priority = kFirstInQueue;
    submit_response_msg_t* answer = nullptr;
    const int result = slurm_submit_batch_job(&message, &answer);
    const Owned<submit_response_msg_t, slurm_free_submit_response_response_msg> response(answer);
    check_change("slurm.submit_node_job", result, fmt::format("job {} for node {}", job.name, job.node));
    return response->job_id;
  }

  void requeue_job(std::uint32_t id) override {
    check_change("slurm.requeue_job", slurm_requeue(id, 0), fmt::format("job {}", id));
  }

  void requeue_job_held(std::uint32_t id) override {
    check_change("slurm.requeue_job_held", slurm_requeue(id, JOB_REQUEUE_HOLD), fmt::format("job {}", id));
  }

  void cancel_job(std::uint32_t id) override {
    check_change("slurm.cancel_job", slurm_kill_job(id, SIGKILL, 0), fmt::format("job {}", id));
  }

  void tell_job(std::uint32_t id, const std::string& line) override {
    std::string text = line;
    check_change("slurm.tell_job", slurm_notify_job(id, text.data()), fmt::format("job {}", id));
  }

  void set_job_excluded_nodes(std::uint32_t id, const std::vector<std::string>& nodes) override {
    std::string list = joined(nodes);
    update_job("slurm.set_job_excluded_nodes", id,
               [&](job_desc_msg_t& message) { message.exc_nodes = list.data(); });
  }

  void set_job_begin(std::uint32_t id, sys_seconds begin) override {
    update_job("slurm.set_job_begin", id,
               [&](job_desc_msg_t& message) { message.begin_time = begin.time_since_epoch().count(); });
  }

  void place_job(std::uint32_t id, const std::string& reservation, minutes time_limit) override {
    std::string name = reservation;
    update_job("slurm.place_job", id, [&](job_desc_msg_t& message) {
      message.reservation = name.data();
      message.time_limit = static_cast<std::uint32_t>(time_limit.count());
    });
  }

  void hold_job(std::uint32_t id) override {
    update_job("slurm.hold_job", id, [](job_desc_msg_t& message) { message.priority = 0; });
  }

  void release_job(std::uint32_t id) override {
    update_job("slurm.release_job", id, [](job_desc_msg_t& message) { message.priority = INFINITE; });
  }

  void set_job_reservation(std::uint32_t id, const std::string& reservation) override {
    std::string name = reservation;
    update_job("slurm.set_job_reservation", id,
               [&](job_desc_msg_t& message) { message.reservation = name.data(); });
  }

  void set_job_end(std::uint32_t id, sys_seconds end) override {
    update_job("slurm.set_job_end", id,
               [&](job_desc_msg_t& message) { message.end_time = end.time_since_epoch().count(); });
  }

  void set_job_admin_comment(std::uint32_t id, const std::string& text) override {
    std::string comment = text;
    update_job("slurm.set_job_admin_comment", id,
               [&](job_desc_msg_t& message) { message.admin_comment = comment.data(); });
  }

  void warn_job(std::uint32_t id) override {
    const auto job = std::to_string(id);
    check_change("slurm.warn_job", slurm_kill_job2(job.c_str(), SIGUSR1, KILL_STEPS_ONLY, nullptr),
                 "job " + job);
  }

 private:
  // Slurm does not say which of the users it means.
  std::string without_account(const std::vector<std::string>& users) {
    std::vector<std::string> without;
    for (const auto& user : users) {
      const auto uid = uid_of_user(user);
      if (uid && accounts_of(*uid).empty()) without.push_back(user);
    }
    const auto names = joined(without.empty() ? users : without);
    return fmt::format(
        ", for {}, who {} no account in Slurm's accounting (sacctmgr add user {} account=ACCOUNT)", names,
        without.size() == 1 ? "has" : "have", names);
  }

  bool has_accounting() {
    const std::lock_guard lock(mutex_);
    return accounting_in_slurmdbd_;
  }

  PartitionMessage load_partitions() {
    partition_info_msg_t* loaded = nullptr;
    check(slurm_load_partitions(0, &loaded, SHOW_ALL), "slurmctld: partitions");
    return PartitionMessage(loaded);
  }

  // Slurm may answer a create with success and give fewer nodes than were asked for.
  void refuse_shortfall(const ClusterReservation& wanted) {
    for (const auto& made : reservations()) {
      if (made.name != wanted.name) continue;
      if (same_names(made.nodes, wanted.nodes)) return;
      delete_reservation(wanted.name);
      throw ClusterError(ClusterError::Code::kRefused,
                         fmt::format("reservation {}: Slurm gave {} of {} nodes ({}); try again", wanted.name,
                                     made.nodes.size(), wanted.nodes.size(), joined(made.nodes)));
    }
    throw ClusterError(ClusterError::Code::kRefused,
                       fmt::format("reservation {}: Slurm accepted it but does not list it", wanted.name));
  }

  // An empty reason leaves the node's own.
  static void set_node_state(std::string_view point, const std::string& node, std::uint32_t state,
                             const std::string& reason) {
    update_node_msg_t message;
    slurm_init_update_node_msg(&message);
    std::string name = node;
    std::string why = reason;
    message.node_names = name.data();
    message.node_state = state;
    if (!why.empty()) {
      message.reason = why.data();
      message.reason_uid = getuid();
    }
    check_change(point, slurm_update_node(&message), "node " + node);
  }

  template <typename Change>
  static void update_job(std::string_view point, std::uint32_t id, Change change) {
    job_desc_msg_t message;
    slurm_init_job_desc_msg(&message);
    message.job_id = id;
    change(message);
    check_change(point, slurm_update_job(&message), fmt::format("job {}", id));
  }

  std::mutex jobs_mutex_;  // held while slurmctld is asked: without one for many seconds
  JobMessage jobs_message_;

  std::mutex mutex_;
  bool accounting_in_slurmdbd_ = false;
  bool limits_are_enforced_ = false;
  std::optional<std::uint32_t> slurm_uid_;
};

}  // namespace

std::unique_ptr<Cluster> connect_slurm() {
  return std::make_unique<SlurmCluster>();
}

Controllers slurm_controllers() {
  Controllers controllers;
  for (std::uint32_t i = 0; i < slurm_conf.control_cnt; ++i)
    controllers.hosts.push_back(text_of(slurm_conf.control_machine[i]));
  controllers.answers = [](std::size_t i) { return slurm_ping(static_cast<int>(i)) == SLURM_SUCCESS; };
  controllers.in_control = [] {
    slurm_conf_t* loaded = nullptr;
    const bool answered = slurm_load_ctl_conf(0, &loaded) == SLURM_SUCCESS;
    const ConfMessage conf(loaded);
    return answered;
  };
  return controllers;
}

}  // namespace stint::reservations
