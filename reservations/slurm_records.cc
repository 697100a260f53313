// SPDX-License-Identifier: Apache-2.0
#include "reservations/slurm_records.h"

#include <signal.h>
#include <slurm/slurm_errno.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <string_view>

#include "base/gres.h"
#include "reservations/slurm_calls.h"

namespace stint::reservations {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::sys_seconds;

sys_seconds time_of(time_t time) {
  return sys_seconds{seconds{time}};
}

std::vector<std::string> names_of(const char* list) {
  std::vector<std::string> names;
  std::string_view rest = list == nullptr ? "" : list;
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    if (comma != 0) names.emplace_back(rest.substr(0, comma));
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
  }
  return names;
}

// The script itself, a program in it that the script (or srun) tells of as shells do, or a step, whatever its
// script made of that.
bool died_of_warning(const job_info_t& info) {
  const auto by_signal = [](std::uint32_t raw) {
    const int status = static_cast<int>(raw);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1;
  };
  const int status = static_cast<int>(info.exit_code);
  return by_signal(info.exit_code) || by_signal(info.derived_ec) ||
         (WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGUSR1);
}

// None: it did not end by itself, but was cancelled, timed out or lost its node.
std::optional<int> exit_status_of(const job_info_t& info) {
  const std::uint32_t base = info.job_state & JOB_STATE_BASE;
  if (base != JOB_COMPLETE && base != JOB_FAILED) return std::nullopt;
  const int status = static_cast<int>(info.exit_code);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

struct SwitchTree {
  std::map<std::string, std::string> parent;   // of a switch
  std::map<std::string, std::string> leaf_of;  // of a node

  std::vector<std::string> path(const std::string& node) const {
    std::vector<std::string> names;
    auto leaf = leaf_of.find(node);
    if (leaf == leaf_of.end()) return names;
    // the bound keeps a table that contradicts itself from going round for ever
    for (std::string name = leaf->second; names.size() <= parent.size(); name = parent.at(name)) {
      names.insert(names.begin(), name);
      if (!parent.contains(name)) break;
    }
    return names;
  }
};

}  // namespace

std::vector<std::string> hosts_of(const char* list) {
  std::vector<std::string> hosts;
  if (list == nullptr || *list == '\0') return hosts;
  hostlist_t parsed = slurm_hostlist_create(list);
  if (parsed == nullptr) return hosts;
  while (char* host = slurm_hostlist_shift(parsed)) {
    hosts.emplace_back(host);
    free(host);
  }
  slurm_hostlist_destroy(parsed);
  return hosts;
}

ClusterNode to_node(const node_info_t& info) {
  // Not those that sleep to save power: Slurm wakes them for a job.
  constexpr std::uint32_t kService =
      NODE_STATE_REBOOT_REQUESTED | NODE_STATE_REBOOT_ISSUED | NODE_STATE_INVALID_REG;
  constexpr std::uint32_t kAsleep =
      NODE_STATE_POWERED_DOWN | NODE_STATE_POWERING_DOWN | NODE_STATE_POWER_DOWN | NODE_STATE_POWER_DRAIN;
  const std::uint32_t base = info.node_state & NODE_STATE_BASE;
  ClusterNode node;
  node.name = text_of(info.name);
  node.address = info.node_addr == nullptr ? node.name : text_of(info.node_addr);
  node.port = info.port;
  node.down = base == NODE_STATE_DOWN;
  node.drained = (info.node_state & (NODE_STATE_DRAIN | NODE_STATE_FAIL)) != 0;
  node.waking = (info.node_state & (NODE_STATE_POWERING_UP | NODE_STATE_POWER_UP)) != 0;
  node.asleep = !node.waking && (info.node_state & kAsleep) != 0;
  // Nobody expects an answer of a node that sleeps or boots.
  node.silent = !node.asleep && !node.waking &&
                ((info.node_state & NODE_STATE_NO_RESPOND) != 0 || base == NODE_STATE_UNKNOWN);
  node.reserved_for_service = base == NODE_STATE_FUTURE || (info.node_state & kService) != 0;
  node.maintenance = (info.node_state & NODE_STATE_MAINT) != 0;
  node.idle = base == NODE_STATE_IDLE && (info.node_state & NODE_STATE_COMPLETING) == 0;
  node.reason = text_of(info.reason);
  node.features = names_of(info.features_act);
  node.gpus = count_gpus(text_of(info.gres));
  return node;
}

JobState state_of(std::uint32_t state) {
  if ((state & (JOB_COMPLETING | JOB_REQUEUE)) != 0) return JobState::kCompleting;
  switch (state & JOB_STATE_BASE) {
    case JOB_PENDING:
      return JobState::kPending;
    case JOB_RUNNING:
    case JOB_SUSPENDED:
      return JobState::kRunning;
    default:
      return JobState::kFinished;
  }
}

ClusterPartition to_partition(const partition_info_t& info) {
  ClusterPartition partition;
  partition.name = text_of(info.name);
  partition.is_default = (info.flags & PART_FLAG_DEFAULT) != 0;
  if (info.max_time != INFINITE) partition.max_time = minutes{info.max_time};
  if (info.max_nodes != INFINITE) partition.max_nodes = info.max_nodes;
  partition.up = (info.state_up & PARTITION_SCHED) != 0;
  partition.groups = names_of(info.allow_groups);
  partition.min_nodes = info.min_nodes;
  partition.qos = text_of(info.qos_char);
  partition.accounts = names_of(info.allow_accounts);
  partition.denied_accounts = names_of(info.deny_accounts);
  partition.allowed_qos = names_of(info.allow_qos);
  partition.denied_qos = names_of(info.deny_qos);
  return partition;
}

ClusterTopology to_topology(const topo_info_response_msg_t& message) {
  SwitchTree tree;
  for (std::uint32_t i = 0; i < message.record_count; ++i) {
    const auto& info = message.topo_array[i];
    const std::string name = text_of(info.name);
    for (const auto& child : hosts_of(info.switches)) tree.parent[child] = name;
    if (info.level != 0) continue;
    for (const auto& node : hosts_of(info.nodes)) tree.leaf_of[node] = name;
  }
  ClusterTopology topology;
  for (const auto& [node, leaf] : tree.leaf_of) topology.places.push_back({node, tree.path(node)});
  return topology;
}

ClusterJob to_job(const job_info_t& info) {
  ClusterJob job;
  job.id = info.job_id;
  job.restart = info.restart_cnt;
  job.uid = info.user_id;
  job.state = state_of(info.job_state);
  job.begin_time_hold = job.state == JobState::kPending && info.state_reason == WAIT_TIME;
  job.requeue = info.requeue != 0;
  job.batch = info.batch_flag != 0;
  job.held = job.state == JobState::kPending && info.priority == 0;
  job.held_without_plan = job.state == JobState::kPending && ((info.job_state & JOB_RESV_DEL_HOLD) != 0 ||
                                                              info.state_reason == WAIT_RESV_DELETED);
  job.timed_out = job.state == JobState::kFinished && (info.job_state & JOB_STATE_BASE) == JOB_TIMEOUT;
  job.killed_by_warning = job.state == JobState::kFinished && died_of_warning(info);
  job.exit_status = exit_status_of(info);
  job.nodes = hosts_of(info.nodes);
  if (info.num_nodes != NO_VAL) job.node_count = info.num_nodes;
  job.partition = text_of(info.partition);
  job.reservation = text_of(info.resv_name);
  job.admin_comment = text_of(info.admin_comment);
  job.name = text_of(info.name);
  job.account = text_of(info.account);
  job.qos = text_of(info.qos);
  job.excluded_nodes = hosts_of(info.exc_nodes);
  job.queued = time_of(info.submit_time);
  job.begin = time_of(info.eligible_time);
  job.started = time_of(info.start_time);
  if (info.time_limit != INFINITE && info.time_limit != NO_VAL) job.time_limit = minutes{info.time_limit};
  const bool ends = info.time_limit != INFINITE || job.state == JobState::kFinished;
  if (ends && info.end_time > 0) job.end = time_of(info.end_time);
  return job;
}

ClusterReservation to_reservation(const reserve_info_t& info) {
  return {text_of(info.name),
          time_of(info.start_time),
          time_of(info.end_time),
          hosts_of(info.node_list),
          names_of(info.users),
          text_of(info.partition),
          (info.flags & RESERVE_FLAG_OVERLAP) != 0};
}

}  // namespace stint::reservations
