// SPDX-License-Identifier: Apache-2.0
// What stintd needs of the cluster, in plain types: one small interface, so that tests can bring a cluster of
// their own. Calls may block for seconds while the controller is away; every one throws ClusterError when it
// did not succeed. Safe from several threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/wall_limits.h"

namespace stint::reservations {

class ClusterError : public Error {
 public:
  enum class Code {
    kUnreachable,  // the controller does not answer: try again
    kBusy,         // in use, or in a state that passes: try again
    kMissing,      // no such job, node or reservation
    kExists,       // a reservation of that name exists
    kRefused,      // anything else: trying again will not help
  };
  ClusterError(Code code, const std::string& text) : Error(text), code_(code) {}
  Code code() const { return code_; }

 private:
  Code code_;
};

struct ClusterNode {
  std::string name;
  std::string address;
  std::uint16_t port = 0;
  std::vector<std::string> partitions;
  std::vector<std::string> features;  // active ones
  int gpus = 0;
  bool down = false;                  // DOWN: Slurm runs nothing there
  bool drained = false;               // DRAIN or FAIL: Slurm starts nothing new there
  bool silent = false;                // Slurm itself waits for its slurmd
  bool reserved_for_service = false;  // rebooting, future
  bool maintenance = false;           // in a maintenance reservation at present
  bool idle = false;                  // no job, not completing
  bool asleep = false;                // powered down to save power, or on its way there
  bool waking = false;                // powering up
  std::string reason;

  bool sound() const { return !down && !drained && !silent && !reserved_for_service; }
  bool usable() const { return sound() && !maintenance; }  // now
};

enum class JobState { kPending, kRunning, kCompleting, kFinished };

struct ClusterJob {
  std::uint32_t id = 0;
  std::uint32_t restart = 0;  // how often it was requeued
  std::uint32_t uid = 0;
  JobState state = JobState::kPending;  // kCompleting: any state whose nodes are not all released yet
  bool begin_time_hold = false;         // pending only because its begin time is not reached
  bool requeue = false;
  bool batch = false;              // has a script; only these can be requeued
  bool held = false;               // pending, by somebody's wish
  bool held_without_plan = false;  // pending, and held since its reservation is gone
  bool timed_out = false;          // finished: Slurm ended it for its time limit or its reservation
  bool killed_by_warning = false;  // finished: by the signal that warns of a segment's end
  std::optional<int> exit_status;  // ended by itself: of its script, 128 + the signal where one ended it
  std::vector<std::string> nodes;  // while it has some
  std::uint32_t node_count = 0;    // of these, or the fewest that it waits for
  std::string partition;
  std::string reservation;
  std::string admin_comment;
  std::string name;
  std::string account;  // the one and the other as Slurm chose them, where it has accounting
  std::string qos;
  std::vector<std::string> excluded_nodes;
  std::chrono::sys_seconds queued{};               // submitted, or requeued for the last time
  std::chrono::sys_seconds begin{};                // earliest start, while pending
  std::chrono::sys_seconds started{};              // while running
  std::optional<std::chrono::minutes> time_limit;  // none: unlimited
  std::optional<std::chrono::sys_seconds> end;     // of a running job (none: unlimited), or when it has ended
};

struct ClusterReservation {
  std::string name;
  std::chrono::sys_seconds start{};
  std::chrono::sys_seconds end{};
  std::vector<std::string> nodes;
  std::vector<std::string> users;
  std::string partition;
  // Others may lie over it, and the time limits of its jobs, whole minutes at least, may reach into others.
  // Slurm starts no job of another reservation whose limit would.
  bool overlap = false;
};

struct ClusterPartition {
  std::string name;
  bool is_default = false;
  std::optional<std::chrono::minutes> max_time{};  // of a job; none: unlimited
  std::optional<std::uint32_t> max_nodes{};        // of a job; none: unlimited
  std::uint32_t min_nodes = 0;                     // of a job
  bool up = true;                                  // its jobs are started
  std::vector<std::string> groups{};               // whose members may use it; none: everybody
  std::string qos{};                               // its own; may be empty
  std::vector<std::string> accounts{};             // that may use it; none: all but the next ones
  std::vector<std::string> denied_accounts{};
  std::vector<std::string> allowed_qos{};  // of a job; none: all but the next ones
  std::vector<std::string> denied_qos{};
};

// A batch job of stintd's own user: one node with all of its GPUs and nothing beside it; never requeued,
// first in the queue, its output thrown away.
struct NodeJob {
  std::string name;
  std::string node;
  int gpus = 0;  // of the node
  std::string partition;
  std::string reservation;
  std::string script;
  std::chrono::minutes time_limit{1};
};

// The path of switches from the root to a node's leaf switch; empty without a topology.
struct ClusterTopology {
  struct Place {
    std::string node;
    std::vector<std::string> switches;
  };
  std::vector<Place> places;
};

struct ClusterFacts {
  std::string state_save_location;
  std::uint32_t slurm_uid = 0;
  std::string slurm_user;
  bool private_reservations = false;  // PrivateData has reservations, or nodes, which reservations name
  bool private_jobs = false;
  std::chrono::sys_seconds booted{};  // when slurmctld was started
};

class Cluster {
 public:
  virtual ~Cluster() = default;

  virtual ClusterFacts facts() = 0;
  virtual std::vector<ClusterNode> nodes() = 0;
  virtual std::vector<ClusterPartition> partitions() = 0;
  virtual ClusterTopology topology() = 0;
  // Pending, running and completing jobs of all users.
  virtual std::vector<ClusterJob> jobs() = 0;
  // Of the answer that jobs() had last: jobs with an admin comment that have ended, as long as Slurm
  // remembers them (MinJobAge).
  virtual std::vector<ClusterJob> ended_jobs() = 0;
  // Fresh, also when finished a moment ago; none: Slurm does not know it.
  virtual std::optional<ClusterJob> job(std::uint32_t id) = 0;
  virtual std::vector<ClusterReservation> reservations() = 0;
  // root, SlurmUser, or Operator and above in Slurm's accounting.
  virtual bool is_operator(std::uint32_t uid) = 0;
  // Accounts on this cluster, by slurmdbd's records, that the user belongs to, the default one first; none
  // without slurmdbd.
  virtual std::vector<std::string> accounts_of(std::uint32_t uid) = 0;
  // Accounts that slurmdbd lets the user coordinate, those below them too; none without slurmdbd.
  virtual std::vector<std::string> coordinated_by(std::uint32_t uid) = 0;
  // The users of each of these accounts, and of the accounts below it, that slurmdbd has on this cluster;
  // none without slurmdbd.
  using Members = std::map<std::string, std::vector<std::string>>;
  virtual std::optional<Members> members_of(const std::vector<std::string>& accounts) = 0;
  // What bounds the jobs of these users beside their partition's MaxTime; empty where Slurm enforces no
  // limits.
  virtual WallLimits wall_limits(const std::vector<std::string>& users) = 0;

  // Explicit nodes. Returns only when the reservation exists with exactly these nodes; else nothing is left.
  virtual void create_reservation(const ClusterReservation& reservation) = 0;
  // Changes what differs of a reservation that exists as `from`: all of it or nothing. A start that is past
  // cannot be changed.
  virtual void update_reservation(const ClusterReservation& from, const ClusterReservation& to) = 0;
  virtual void delete_reservation(const std::string& name) = 0;

  // DRAIN first, so that a slurmd that comes back is not given work, then DOWN, which ends the jobs there.
  virtual void set_node_down(const std::string& node, const std::string& reason) = 0;
  // Nothing new is started there; what runs goes on.
  virtual void drain_node(const std::string& node, const std::string& reason) = 0;
  // Wakes a node that sleeps to save power; returns before it is awake.
  virtual void power_up_node(const std::string& node) = 0;
  // Returns the job's id.
  virtual std::uint32_t submit_node_job(const NodeJob& job) = 0;
  virtual void requeue_job(std::uint32_t id) = 0;
  // It comes back held: never starts again before it is released.
  virtual void requeue_job_held(std::uint32_t id) = 0;
  virtual void cancel_job(std::uint32_t id) = 0;
  // A line for whoever looks at a running salloc or srun.
  virtual void tell_job(std::uint32_t id, const std::string& line) = 0;
  // Of a plainly pending job.
  virtual void set_job_excluded_nodes(std::uint32_t id, const std::vector<std::string>& nodes) = 0;
  virtual void set_job_begin(std::uint32_t id, std::chrono::sys_seconds begin) = 0;
  // Of a pending job: both at once. Wakes the scheduler, also when nothing changes.
  virtual void place_job(std::uint32_t id, const std::string& reservation,
                         std::chrono::minutes time_limit) = 0;
  // Keeps a pending job from starting, until it is released.
  virtual void hold_job(std::uint32_t id) = 0;
  // Ends a hold, whoever set it.
  virtual void release_job(std::uint32_t id) = 0;
  // Of a running job, wherever it runs.
  virtual void set_job_reservation(std::uint32_t id, const std::string& reservation) = 0;
  virtual void set_job_end(std::uint32_t id, std::chrono::sys_seconds end) = 0;
  virtual void set_job_admin_comment(std::uint32_t id, const std::string& text) = 0;
  // SIGUSR1 to the job's steps, not to its script: as Slurm's own --signal=USR1@….
  virtual void warn_job(std::uint32_t id) = 0;
};

}  // namespace stint::reservations
